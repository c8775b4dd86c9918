//! What went wrong, as a tired person wants it: what, why, what to do.

use std::io;
use std::process::ExitCode;

use console::style;
use mnemon::Error;
use serde_json::json;

use crate::exit;
use crate::output::Output;

/// Why a command ends without success.
pub(crate) enum Failure {
    /// Mnemon refused or failed.
    Mnemon(Error),
    /// The arguments do not fit together.
    Usage(String),
    /// It cannot be taken back, and nobody said that it should be done.
    Unsure(String),
    /// Something else on this machine.
    Io(io::Error),
    /// The command's own output says what is wrong.
    Reported(u8),
    /// Whoever read stdout went away, which is theirs to decide.
    ReaderGone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Mnemon(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Io(error) }
    }
}

impl Failure {
    /// What clap says, without its own "error:" and colours.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or_default();
        let text = text.trim().trim_start_matches("error: ");
        Self::Usage(text.to_owned())
    }

    /// Says it, and answers the exit code.
    pub(crate) fn report(&self, output: &Output) -> ExitCode {
        let told = match self {
            Self::ReaderGone => return ExitCode::SUCCESS,
            Self::Reported(code) => return ExitCode::from(*code),
            Self::Mnemon(error) => Told::of(error),
            Self::Usage(text) => Told {
                code: "usage",
                what: text.clone(),
                causes: Vec::new(),
                fix: Some("`mnemon help` lists commands and flags".to_owned()),
                retryable: false,
                exit: exit::INVALID,
            },
            Self::Unsure(text) => Told {
                code: "usage",
                what: text.clone(),
                causes: Vec::new(),
                fix: Some("the same with --yes, if that is what you want".to_owned()),
                retryable: false,
                exit: exit::INVALID,
            },
            Self::Io(error) => Told {
                code: "io",
                what: error.to_string(),
                causes: Vec::new(),
                fix: None,
                retryable: false,
                exit: exit::FAILED,
            },
        };
        if output.json {
            told.as_json(output);
        } else {
            told.to_people();
        }
        ExitCode::from(told.exit)
    }
}

pub(crate) struct Told {
    code: &'static str,
    pub(crate) what: String,
    pub(crate) causes: Vec<String>,
    pub(crate) fix: Option<String>,
    retryable: bool,
    exit: u8,
}

impl Told {
    pub(crate) fn of(error: &Error) -> Self {
        // A setup error carries its own fix, which gets a line of its own.
        let (what, fix) = match error {
            Error::Setup { problem, fix } => (problem.clone(), Some(fix.clone())),
            other => (other.to_string(), fix(other)),
        };
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        let retryable = error.is_retryable();
        Self { code: error.code(), what, causes, fix, retryable, exit: exit::code(error) }
    }

    fn as_json(&self, output: &Output) {
        let error = json!({
            "error": {
                "code": self.code,
                "message": self.what,
                "causes": self.causes,
                "fix": self.fix,
                "retryable": self.retryable,
                "exit": self.exit,
            }
        });
        // Nobody left to tell when stdout is gone.
        let _ = output.json(&error);
    }

    fn to_people(&self) {
        eprintln!("{} {}", style("error:").red().bold().for_stderr(), self.what);
        for cause in &self.causes {
            eprintln!("  because: {cause}");
        }
        if let Some(fix) = &self.fix {
            eprintln!("  {} {fix}", style("try:").green().for_stderr());
        }
    }
}

/// What helps, where something does and the message does not say so itself.
fn fix(error: &Error) -> Option<String> {
    Some(match error {
        Error::ScopeRequired { missing, .. } => {
            format!("say who is asking: --{missing} NAME, or MNEMON_{}", missing.to_uppercase())
        }
        Error::NotFound { .. } => {
            "check the name and the scope: what another scope holds is not found".to_owned()
        }
        Error::AlreadyExists { .. } => {
            "choose another key, or delete what is there first".to_owned()
        }
        Error::ModelMismatch { registered, .. } => {
            format!(
                "open it with the model it is registered for, {}, or go over to another one: `mnemon \
                 reembed --model …`",
                registered.name
            )
        }
        Error::LanguageMismatch { registered, offered } => {
            format!(
                "set memories.language to {registered}, or go over: `mnemon memories language {offered}`"
            )
        }
        Error::Unavailable { .. } => {
            "check the server and the network, then try again; -v says more".to_owned()
        }
        Error::Conflict { kind: "strategy of turns", .. } => {
            "clear the memory first, or leave its strategy as it is".to_owned()
        }
        Error::Held { .. } | Error::Conflict { .. } => "try again".to_owned(),
        Error::Sealed { .. } => {
            "name the file with the keys it was written under in checkpoints.key_file".to_owned()
        }
        Error::Corrupt { .. } => "restore it from a backup, and report this".to_owned(),
        Error::Backend { .. } => "run it again with -vv, which logs what was done".to_owned(),
        _ => return None,
    })
}
