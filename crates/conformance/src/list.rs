//! The list: every case of the suite, facet by facet. A case that is not here is dead code, and
//! dead code fails the build.

#![expect(clippy::too_many_lines, reason = "lists")]

mod checkpoints;
mod claims;
mod events;
mod memories;
mod recall;
mod row_level_security;
mod running;
mod steps;
mod turns;
mod workflows;

use crate::case::Case;
use crate::isolation;

/// The list: every case of the suite.
pub fn cases() -> Vec<Case> {
    [
        memories::cases(),
        recall::cases(),
        events::cases(),
        turns::cases(),
        checkpoints::cases(),
        workflows::cases(),
        claims::cases(),
        steps::cases(),
        running::cases(),
        row_level_security::cases(),
        isolation::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();

        assert_eq!(names.len(), cases.len());
    }
}
