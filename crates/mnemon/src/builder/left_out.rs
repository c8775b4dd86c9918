//! What a database says that this build leaves out.

use mnemon_core::{Error, Result};

fn left_out<T>(name: &str, feature: &str) -> Result<T> {
    Err(Error::setup(
        format!("this build of Mnemon leaves out {name}"),
        format!("build it with the feature {feature} of the crate mnemon"),
    ))
}

#[cfg(not(feature = "sqlite"))]
pub(super) mod sqlite {
    use std::sync::Arc;

    use mnemon_core::migrations::Migrations;
    use mnemon_core::turns::TurnDefaults;
    use mnemon_core::{Result, Store};

    use crate::builder::Builder;
    use crate::config::{Config, SecretUrl};

    #[expect(clippy::unused_async, reason = "the shape of the store it stands in for")]
    pub(in crate::builder) async fn open(
        _: &Builder,
        _: &SecretUrl,
        _: TurnDefaults,
        _: &mut Vec<String>,
    ) -> Result<Arc<dyn Store>> {
        super::left_out("SQLite", "sqlite")
    }

    pub(in crate::builder) fn migrations(_: &Config, _: &SecretUrl) -> Result<Box<dyn Migrations>> {
        super::left_out("SQLite", "sqlite")
    }
}

#[cfg(not(feature = "postgres"))]
pub(super) mod postgres {
    use mnemon_core::Result;
    use mnemon_core::migrations::Migrations;
    use mnemon_core::turns::TurnDefaults;

    use crate::builder::Opened;
    use crate::config::{Config, SecretUrl};

    #[expect(clippy::unused_async, reason = "the shape of the store it stands in for")]
    pub(in crate::builder) async fn open(
        _: &Config,
        _: &SecretUrl,
        _: TurnDefaults,
    ) -> Result<Opened> {
        super::left_out("PostgreSQL", "postgres")
    }

    #[expect(clippy::unused_async, reason = "the shape of the store it stands in for")]
    pub(in crate::builder) async fn migrations(
        _: &Config,
        _: &SecretUrl,
    ) -> Result<Box<dyn Migrations>> {
        super::left_out("PostgreSQL", "postgres")
    }
}
