//! What every command starts with: the configuration in effect, an open handle, who is asking.

use mnemon::config::SecretUrl;
use mnemon::{Config, Mnemon, Result, Scope};

use crate::args::{Global, ScopeArgs};
use crate::output::Output;

/// One run of a command.
pub(crate) struct Context<'a> {
    pub(crate) config: Config,
    pub(crate) output: &'a Output,
    /// Whether `--db` was given: what writes examples goes nowhere else unasked.
    pub(crate) db_given: bool,
    pub(crate) scope: ScopeArgs,
}

impl<'a> Context<'a> {
    /// Reads the configuration; flags win over everything.
    pub(crate) fn new(global: Global, output: &'a Output) -> Result<Self> {
        let mut config = Config::load(global.config.as_deref())?;
        let db_given = global.db.is_some();
        if let Some(url) = global.db {
            config.store.url = Some(SecretUrl::new(url));
        }
        if let Some(model) = global.model {
            config.embedder.model = model;
        }
        Ok(Self { config, output, db_given, scope: global.scope })
    }

    /// Opens the database and says what there is to say about it.
    pub(crate) async fn open(&self) -> Result<Mnemon> {
        let mut config = self.config.clone();
        // A command is short: whoever wants upkeep runs `mnemon upkeep` or a process that stays.
        config.upkeep.enabled = false;
        let db = Mnemon::from_config(config).await?;
        for notice in db.notices() {
            self.output.notice(notice);
        }
        Ok(db)
    }

    /// Who is asking: the flags, over what the database assumes. A server assumes nothing, so that
    /// a scope without a tenant is refused by the call.
    pub(crate) fn scope(&self, db: &Mnemon) -> Scope {
        let given = &self.scope;
        let mut scope = db.default_scope().unwrap_or_default();
        if let Some(tenant) = &given.tenant {
            scope.tenant.clone_from(tenant);
        }
        scope.user.clone_from(&given.user);
        scope.agent.clone_from(&given.agent);
        scope.session.clone_from(&given.session);
        scope.run.clone_from(&given.run);
        scope.groups = given.group.iter().filter(|name| !name.is_empty()).cloned().collect();
        scope
    }
}
