//! The runbook, made from the table that `doctor` prints from.

use std::fmt::Write as _;

use mnemon_core::store::Severity;
use mnemon_core::troubles;

/// `docs/runbook.md`.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    for trouble in troubles::ALL {
        let severity = match trouble.severity {
            Severity::Error => "error",
            _ => "warning",
        };
        let _ = writeln!(
            page,
            "| {}: {severity} | {} | {} | {} |",
            trouble.check,
            trouble.symptom,
            blanks(trouble.cause),
            blanks(trouble.fix)
        );
    }
    page.push_str(REST);
    page
}

/// Words that a finding fills in stand in capitals, as in a command's help.
fn blanks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, piece) in text.split('{').enumerate() {
        match piece.split_once('}') {
            Some((word, rest)) if at > 0 => {
                out.push_str(&word.to_uppercase());
                out.push_str(rest);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

const INTRODUCTION: &str = "\
# Runbook

<!-- Generated from crates/core/src/troubles.rs. To regenerate:
     MNEMON_REGENERATE=1 cargo test -p mnemon --test docs -->

Something is wrong, and it is night. Ask first:

```sh
mnemon doctor            # every check, the bad ones with their fix; exit code 1 when one is an error
mnemon doctor --json     # the same for programs
mnemon upkeep --once     # does what waits, and says what fails
```

`doctor` changes nothing. It looks with the rights of the role it logs in as: log in as the schema's
owner to see all of it.

## Symptom, cause, fix

The table `doctor` prints from. Words in capitals are filled in by what it finds.

| check | what you notice | why | what to do |
|---|---|---|---|
";

const REST: &str = "
## When a call fails

Errors say by their code what a caller can do; the command line prints the same and adds the fix.

| code | means | do |
|---|---|---|
| `unavailable` | nothing was done, or it is not known whether it was: the database does not answer, too many wait, the breaker is open | try again after `retry_after`; a step or a write with a request id may always be sent again |
| `conflict` | somebody else was faster | load again, decide again, save again |
| `held` | somebody holds the key until the time given | wait (`locks().wait`), or work on something else |
| `fenced` | a newer holder exists: what you hold is worth nothing | stop; do not retry under the same guard |
| `not_found` | it is not there, or not for you to see | check tenant, user and agent of the scope |
| `already_exists` | the key or id is taken | choose another, or read what is there |
| `invalid` | the call itself is wrong; the message names the field and the limit | change the call |
| `step_reused` | a strict step's id was used for another payload | find out which of the two is right |
| `model_mismatch` | the database's vectors are of another model | open it with the model it names |
| `scope_required` | the scope lacks a part of the key | give it; nothing was read or written |
| `setup` | the installation must be changed | the message says how |
| `corrupt` | what is stored cannot be read | `mnemon doctor`; restore from a backup |
| `closed` | the handle was closed | open a new one |
| `backend` | the database failed in a way that nothing above covers | read the causes; run it again with `-vv`, and report it |

## Worked cases

*Nothing arrives at subscribers.* `mnemon doctor` says `event horizon: … behind`: a transaction that
wrote is open somewhere in the cluster, perhaps in another database. End it; subscribers go on by
themselves, and nothing is lost. If the horizon is fine and a group is named under `consumers`,
start a process of that group.

*A worker hangs and holds its lock.* `mnemon locks list` shows who and until when. Wait for the end
of the lease, or `mnemon locks release KEY`: the fence grows, so that whatever the hanging worker
still sends is refused. It is noted as an event `locks.forced` on the stream `mnemon.system`.

*The queue of dead letters grows.* `mnemon dead-letters stats` names the causes. Mend the cause,
then `mnemon dead-letters retry QUEUE`; what waits for a person needs `--reviewed`.

*The server was put back to an earlier state.* Before anything writes: `mnemon doctor --restored`.
See [Backup and recovery](backup.md).

*A disk was full.* Nothing acknowledged is lost and nothing half-written is there. Make room; calls
succeed again without a restart.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_to_fill_in_stand_in_capitals() {
        assert_eq!(blanks("schema {schema}, of {a}"), "schema SCHEMA, of A");
        assert_eq!(blanks("nothing"), "nothing");
    }
}
