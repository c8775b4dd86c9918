//! Each database and each model can be left out: every combination builds without a warning and without what it left out.

use crate::steps::{exec, read};
use crate::{Outcome, place};

/// What runs local models, and what cuts their texts.
const CANDLE: &str = "candle-core";
const TOKENIZERS: &str = "tokenizers";

/// A combination of `mnemon`'s features, and the crates that it must not pull in.
struct Combination {
    features: &'static str,
    without: &'static [&'static str],
}

const COMBINATIONS: [Combination; 4] = [
    Combination {
        features: "sqlite",
        without: &["sqlx", "sqlx-core", "sqlx-postgres", "pgvector", CANDLE, TOKENIZERS],
    },
    Combination {
        features: "postgres",
        without: &["rusqlite", "libsqlite3-sys", CANDLE, TOKENIZERS],
    },
    Combination { features: "sqlite,postgres", without: &[CANDLE, TOKENIZERS] },
    // Neither a hub to download from nor a C++ library comes with local models.
    Combination {
        features: "sqlite,local-embedder",
        without: &["sqlx", "sqlx-core", "sqlx-postgres", "pgvector", "hf-hub", "onig"],
    },
];

/// Lints every combination. Clippy, because it shares its artefacts with the lint of the workspace.
pub(crate) fn lint() -> Outcome {
    for Combination { features, .. } in COMBINATIONS {
        let args = [
            "clippy",
            "--locked",
            "--package",
            "mnemon",
            "--no-default-features",
            "--features",
            features,
        ];
        exec(place::cargo(&args).args(["--all-targets", "--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Looks into the dependency tree of every combination.
pub(crate) fn trees() -> Outcome {
    for Combination { features, without } in COMBINATIONS {
        let args = [
            "tree",
            "--locked",
            "--package",
            "mnemon",
            "--no-default-features",
            "--features",
            features,
        ];
        let tree = read(place::cargo(&args).args(["--edges", "normal", "--prefix", "none"]))?;
        let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
        if !has("mnemon") {
            return Err(format!("cargo tree says nothing about mnemon with {features}"));
        }
        if let Some(name) = without.iter().find(|name| has(name)) {
            return Err(format!("mnemon with {features} pulls in {name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_build_has_nothing_of_what_it_left_out() {
        super::trees().unwrap();
    }
}
