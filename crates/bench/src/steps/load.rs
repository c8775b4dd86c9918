//! The steps that are measured: a turn, a memory, an event and a checkpoint, some 300 bytes each.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemon::checkpoints::{ChannelValue, Put, Thread};
use mnemon::events::{Append, NewEvent};
use mnemon::turns::NewTurn;
use mnemon::{Mnemon, NewMemory, RequestId, Scope, Step, Write};

/// Bytes of each payload, about.
pub(super) const PAYLOAD: usize = 300;
/// Steps of one tenant; then a writer goes on with the next one.
pub(super) const PASS: usize = 500;
/// Different words of all payloads together.
const VOCABULARY: u64 = 4_000;

/// Who writes a pass.
pub(super) fn scope(tenant: &str) -> Scope {
    Scope::tenant(tenant).user("ada").agent("planner").session("s1")
}

/// Words from a fixed seed, the same in every run.
fn text(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = format!("{seed}");
    while text.len() < PAYLOAD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, " w{}", state % VOCABULARY).expect("a String takes any text");
    }
    text
}

/// The steps of one pass: made once, before the clock runs.
pub(super) fn pass() -> Arc<[Step]> {
    (0..PASS).map(step).collect()
}

fn step(number: usize) -> Step {
    let seed = u64::try_from(number).expect("a small number") * 4;
    let event = NewEvent::new("agent.acted", serde_json::json!({ "text": text(seed + 2) }));
    let append = Append { stream: "agent".into(), events: vec![event], expected_version: None };
    let state = ChannelValue::json(&serde_json::json!(text(seed + 3)));
    Step::new(RequestId::parse(format!("step-{number}")).expect("a plain id"))
        .write(Write::Turn(Box::new(NewTurn::new("what now?", text(seed)))))
        .write(Write::Remember(Box::new(NewMemory::new(text(seed + 1)))))
        .write(Write::Events(append))
        .write(Write::Checkpoint(Box::new(Put::new(Thread::new("thread")).channel("state", state))))
}

/// Steps that keep what a step of `dbos` keeps: one payload.
pub(super) fn singles() -> Arc<[Step]> {
    (0..PASS)
        .map(|number| {
            let step = step(number);
            let event = step.writes.iter().find(|write| matches!(write, Write::Events(_)));
            Step::new(step.id.clone()).write(event.expect("made above").clone())
        })
        .collect()
}

/// Steps a second of `agents` on one thread of the operating system, through a handle of its own.
///
/// # Errors
///
/// One line that says what did not work.
pub(super) fn one_thread(
    url: &str,
    steps: &Arc<[Step]>,
    name: &str,
    agents: usize,
    time: Duration,
) -> Result<f64, String> {
    let shown = |error: &dyn std::error::Error| error.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| shown(&error))?;
    runtime.block_on(async {
        let open = Mnemon::builder(url).background_upkeep(false).open().await;
        let db = open.map_err(|error| shown(&error))?;
        // Its connections are open and their statements prepared before the clock runs.
        let warm = mnemon(&db, steps, &format!("{name}-warm"), agents, WARM).await;
        warm.map_err(|error| shown(&*error))?;
        let rate = mnemon(&db, steps, name, agents, time).await;
        db.close().await;
        rate.map_err(|error| shown(&*error))
    })
}

/// How long a handle is used before it is measured.
const WARM: Duration = Duration::from_millis(200);

/// Steps a second of `writers` that commit through Mnemon, each in a thread, session and stream
/// of its own. `name` keeps rounds apart.
pub(super) async fn mnemon(
    db: &Mnemon,
    steps: &Arc<[Step]>,
    name: &str,
    writers: usize,
    time: Duration,
) -> Result<f64, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (db, steps, name) = (db.clone(), steps.clone(), format!("{name}-{writer}"));
            tokio::spawn(write(db, steps, name, begun + time))
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(rate(done, begun))
}

async fn write(
    db: Mnemon,
    steps: Arc<[Step]>,
    name: String,
    until: Instant,
) -> mnemon::Result<usize> {
    let mut done = 0;
    loop {
        let scope = scope(&format!("{name}-{}", done / PASS));
        for step in steps.iter() {
            if Instant::now() >= until {
                return Ok(done);
            }
            db.commit(&scope, step.clone()).await?;
            done += 1;
        }
    }
}

/// Steps a second since then.
#[expect(clippy::cast_precision_loss, reason = "a count of steps")]
pub(super) fn rate(steps: usize, begun: Instant) -> f64 {
    steps as f64 / begun.elapsed().as_secs_f64()
}
