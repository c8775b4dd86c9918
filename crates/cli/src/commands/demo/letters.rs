//! The letters of the second day: read by a process of its own under a lock, one step each, until
//! somebody kills it; and finished by whoever comes after.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mnemon::checkpoints::{ChannelValue, CheckpointId, ExpectedHead, Put, Thread};
use mnemon::events::{Append, NewEvent};
use mnemon::locks::{Guard, Lease};
use mnemon::turns::NewTurn;
use mnemon::{Mnemon, NewMemory, Receipt, RequestId, Result, Scope, Step, Write};
use serde_json::json;

use crate::commands::Done;
use crate::context::Context;

/// What is in the letter box, by who wrote it.
pub(super) const LETTERS: [(&str, &str); 20] = [
    ("Bruno", "the stage needs two more lamps"),
    ("Chen", "the caterer asks for a head count by Friday"),
    ("Dalia", "the poster is at the printer"),
    ("Emre", "the train back is at 21:40"),
    ("Fatou", "three speakers confirmed, one is ill"),
    ("Goran", "the insurance wants the floor plan"),
    ("Hana", "parking is free after six"),
    ("Ivo", "the microphones were tested and work"),
    ("Jonna", "the press list has nine names"),
    ("Kofi", "the ramp for wheelchairs is built"),
    ("Leila", "the band can play until eleven"),
    ("Marek", "the invoice of the hall is paid"),
    ("Nadia", "the flowers come in pots this year"),
    ("Olu", "the sign at the gate has a typo"),
    ("Pilar", "the minister sends a greeting instead"),
    ("Quentin", "the projector is on loan from the school"),
    ("Rosa", "rain is forecast for the evening"),
    ("Sami", "a tent can be had for half the price"),
    ("Tove", "the choir brings its own chairs"),
    ("Uli", "the key of the hall is with the porter"),
];

/// The process is killed when it has told of this many.
pub(super) const TOLD: usize = 8;

/// What whoever reads letters holds.
pub(super) const LOCK: &str = "letter-box";
const LEASE: Duration = Duration::from_secs(1);
/// A dead holder's lease ends by itself; nobody has to clear anything.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who reads them.
pub(super) fn scope(tenant: &str) -> Scope {
    Scope::tenant(tenant).user("ada").agent("iris").session("letters")
}

/// Where the reading stands.
pub(super) fn thread() -> Thread {
    Thread::new("letters")
}

/// What happened to the letters.
pub(super) const STREAM: &str = "letters";

/// Takes the right to read them.
pub(super) async fn hold(db: &Mnemon, tenant: &str, who: &str) -> Result<Lease> {
    db.locks().wait(&scope(tenant), LOCK, who, LEASE, PATIENCE).await
}

/// Reads a letter: one step, its id from the letter.
pub(super) async fn read(db: &Mnemon, tenant: &str, at: usize, guard: Guard) -> Result<Receipt> {
    db.commit(&scope(tenant), step(at)?.guard(guard)).await
}

fn step(at: usize) -> Result<Step> {
    let (from, text) = LETTERS[at];
    let number = at + 1;
    let id = |number: usize| CheckpointId(format!("{number:03}"));
    let expected_head = if at == 0 { ExpectedHead::Empty } else { ExpectedHead::Is(id(at)) };
    Ok(Step::new(RequestId::parse(format!("letter-{number}"))?)
        .write(Write::Turn(Box::new(NewTurn::new(
            format!("Letter {number}, of {from}: {text}"),
            "Noted.",
        ))))
        .write(Write::Remember(Box::new(NewMemory {
            source: Some(format!("letter {number}")),
            ..NewMemory::new(format!("{from} writes: {text}"))
        })))
        .write(Write::Events(Append {
            stream: STREAM.to_owned(),
            events: vec![NewEvent::new("letter.read", json!({ "number": number }))],
            expected_version: Some(i64::try_from(at).expect("twenty letters")),
        }))
        .write(Write::Checkpoint(Box::new(Put {
            id: Some(id(number)),
            expected_head,
            ..Put::new(thread()).channel("read", ChannelValue::json(&json!(number)))
        }))))
}

/// The second process: reads letter after letter, telling each, and never ends by itself.
pub(super) async fn read_until_killed(db: &Mnemon, tenant: &str) -> Done {
    let lease = hold(db, tenant, "first process").await?;
    for at in 0..LETTERS.len() {
        read(db, tenant, at, lease.guard()).await?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", at + 1)?;
        stdout.flush()?;
    }
    // Whoever started it went away without killing it.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// What is known of a process that was killed.
pub(super) struct Killed {
    pub(super) pid: u32,
    /// How it ended, in the system's words.
    pub(super) how: String,
    /// Letters it told of before.
    pub(super) told: usize,
}

/// Starts the second process and kills it while it reads.
pub(super) fn start_and_kill(context: &Context<'_>, tenant: &str) -> io::Result<Killed> {
    let mut child = start(context, tenant)?;
    let out = child.stdout.take().expect("it is piped");
    let mut told = 0;
    for line in BufReader::new(out).lines() {
        line?;
        told += 1;
        if told == TOLD {
            break;
        }
    }
    // SIGKILL: nothing of it runs any more, whatever it was doing.
    child.kill()?;
    let status = child.wait()?;
    if told < TOLD {
        return Err(io::Error::other(format!("the second process ended too early: {status}")));
    }
    Ok(Killed { pid: child.id(), how: status.to_string(), told })
}

fn start(context: &Context<'_>, tenant: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let url = context.config.store.url.as_ref().expect("the demo has a place");
    command
        .args(["demo", "--quiet", "--read-letters-of", tenant])
        // Not as an argument: it may hold a password, and every user may list arguments.
        .env("MNEMON_URL", url.reveal())
        .env("MNEMON_EMBEDDER_MODEL", &context.config.embedder.model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(file) = &context.config.file {
        command.arg("--config").arg(file);
    }
    command.spawn()
}
