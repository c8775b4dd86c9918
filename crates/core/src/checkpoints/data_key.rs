//! The keys of checkpoints at rest, and where they come from.

use std::fmt;

use crate::error::Result;
use crate::limits;

/// A key of a tenant's, under an id that is stored with everything it encrypts.
#[derive(Clone)]
pub struct DataKey {
    id: String,
    secret: [u8; 32],
}

impl DataKey {
    /// A key. The secret is 32 random bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for an id that is blank or too long.
    pub fn new(id: impl Into<String>, secret: [u8; 32]) -> Result<Self> {
        let id = id.into();
        limits::name("key_id", &id, limits::LABEL_BYTES)?;
        Ok(Self { id, secret })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key that one tenant has where an installation has one for all: another for each, under
    /// the same id.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let derived = blake3::keyed_hash(&self.derived(Use::Tenant), tenant.as_bytes());
        Self { id: self.id.clone(), secret: *derived.as_bytes() }
    }

    pub(super) fn derived(&self, of: Use) -> [u8; 32] {
        blake3::derive_key(of.context(), &self.secret)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a key is derived for.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Tenant,
    Content,
    Parts,
    Nonces,
    Check,
}

impl Use {
    const fn context(self) -> &'static str {
        match self {
            Self::Tenant => "mnemon 2026-11 checkpoint key of a tenant",
            Self::Content => "mnemon 2026-11 checkpoint content",
            Self::Parts => "mnemon 2026-11 checkpoint keys of parts",
            Self::Nonces => "mnemon 2026-11 checkpoint nonces",
            Self::Check => "mnemon 2026-11 checkpoint key check",
        }
    }
}

/// Where the keys come from. It is asked for every call, also on threads that serve others: one
/// that has to ask another service keeps its answers.
pub trait KeyProvider: Send + Sync {
    /// The key under which a tenant's checkpoints are written from now on.
    ///
    /// # Errors
    ///
    /// Why there is none: nothing is written then.
    fn current(&self, tenant: &str) -> Result<DataKey>;

    /// The key of this id; `None` when the tenant has none by it.
    ///
    /// # Errors
    ///
    /// Why it cannot be said.
    fn key(&self, tenant: &str, id: &str) -> Result<Option<DataKey>>;
}
