//! Questions to an oracle, through deaths and outages: every question is put, whoever dies, and no
//! writer hears of it. On SQLite and on each PostgreSQL.
#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::TimeDelta;
use mnemon::claims::{
    AdjudicationRequest, AdjudicationResponse, AsOf, BeliefStatus, Disposition, HandleId, Line,
    NewClaim, Oracle, OracleError, PendingAdjudication, Verdict,
};
use mnemon::{Builder, Error, Mnemon, Page, Scope, Task, UpkeepOptions};
use mnemon_testkit::{Major, Server, TestDatabase, postgres_wanted};

const URL: &str = "MNEMON_TEST_ORACLE_URL";
const TELLS: &str = "MNEMON_TEST_ORACLE_TELLS";
const QUEUED: &str = "queued ";
const ASKED: &str = "asked ";

/// A database that outlives the processes on it.
enum Place {
    File(tempfile::TempDir),
    Server(TestDatabase),
}

impl Place {
    async fn all() -> Vec<Self> {
        let mut places = vec![Self::File(tempfile::tempdir().unwrap())];
        if postgres_wanted() {
            for major in Major::ALL {
                places.push(Self::Server(Server::get(major).database().await));
            }
        }
        places
    }

    fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite://{}", folder.path().join("m.db").display()),
            Self::Server(database) => database.url().to_owned(),
        }
    }

    /// Lets time go by; a file's clock is the machine's, so there its questions grow older.
    async fn pass(&self, time: TimeDelta) {
        match self {
            Self::Server(database) => database.move_clock(time).await,
            Self::File(folder) => {
                let file = rusqlite::Connection::open(folder.path().join("m.db")).unwrap();
                file.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                file.execute(
                    "update claim_questions set next_attempt_at = next_attempt_at - ?1, \
                     expires_at = expires_at - ?1",
                    [time.num_microseconds().unwrap()],
                )
                .unwrap();
                // A process killed on its turn leaves its right to the task behind.
                file.execute(
                    "update upkeep_tasks set expires_at = expires_at - ?1",
                    [time.num_microseconds().unwrap()],
                )
                .unwrap();
            }
        }
    }

    fn builder(&self) -> Builder {
        Mnemon::builder(self.url()).background_upkeep(false)
    }
}

/// Notes every question, and takes it unless it is down.
#[derive(Default)]
struct Notes {
    asked: Mutex<Vec<HandleId>>,
    down: AtomicBool,
}

impl Notes {
    fn asked(&self) -> Vec<HandleId> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Oracle for Notes {
    async fn request_adjudication(
        &self,
        request: &AdjudicationRequest,
    ) -> Result<Option<AdjudicationResponse>, OracleError> {
        self.asked.lock().unwrap().push(request.handle_id);
        if self.down.load(Ordering::SeqCst) { Err("no line".into()) } else { Ok(None) }
    }
}

/// Says that it was asked, and never answers.
struct Hangs;

#[async_trait]
impl Oracle for Hangs {
    async fn request_adjudication(
        &self,
        request: &AdjudicationRequest,
    ) -> Result<Option<AdjudicationResponse>, OracleError> {
        println!("\n{ASKED}{}", request.handle_id);
        std::future::pending().await
    }
}

fn planner() -> Scope {
    Scope::tenant("acme").agent("planner")
}

fn line() -> Line {
    Line::parse("acme", "ceo").unwrap()
}

/// Two values about the same time; the question that this gives rise to.
async fn conflict(db: &Mnemon, ttl: Option<u64>) -> HandleId {
    db.claims().assert(&planner(), NewClaim::new("acme", "ceo", "ada"), None).await.unwrap();
    let bob = NewClaim { adjudication_ttl_seconds: ttl, ..NewClaim::new("acme", "ceo", "bob") };
    db.claims().assert(&planner(), bob, None).await.unwrap().handle.unwrap()
}

/// One round of upkeep; waits until every question that is put is answered for.
async fn round(db: &Mnemon, task: Task) -> u64 {
    let report = db.upkeep(&UpkeepOptions { only: vec![task], force: true }).await.unwrap();
    assert_eq!(report.tasks[0].error, None);
    report.tasks[0].rows
}

async fn open(db: &Mnemon) -> Vec<PendingAdjudication> {
    let open = db.claims().list_pending_adjudications(&planner(), &Page::default()).await;
    open.unwrap().items
}

async fn affirm(db: &Mnemon, handle: HandleId) -> mnemon::Result<Disposition> {
    let response = AdjudicationResponse::new(handle, Verdict::Affirm);
    Ok(db.claims().submit_adjudication(&planner(), response).await?.disposition)
}

/// Not a test by itself: commits a question, puts it when it is told to, and waits to be killed.
#[tokio::test(flavor = "multi_thread")]
async fn child_asks_a_question() {
    let Ok(url) = std::env::var(URL) else { return };
    let builder = Mnemon::builder(url).background_upkeep(false).oracle(Arc::new(Hangs));
    let db = builder.open().await.unwrap();
    println!("\n{QUEUED}{}", conflict(&db, None).await);
    if std::env::var_os(TELLS).is_some() {
        round(&db, Task::OracleQuestions).await;
    }
    std::future::pending::<()>().await;
}

/// A process with a question; killed with this.
struct Asker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Asker {
    fn start(place: &Place, tells: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_asks_a_question", "--nocapture", "--test-threads=1"]);
        command.env(URL, place.url());
        if tells {
            command.env(TELLS, "1");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn says(&mut self, beginning: &str) -> HandleId {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let handle = lines.find_map(|line| line.strip_prefix(beginning).map(str::to_owned));
        handle.expect("the child says so").parse().unwrap()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_process_died_before_it_was_put_is_put_by_the_next() {
    for place in Place::all().await {
        let mut dying = Asker::start(&place, false);
        let handle = dying.says(QUEUED);
        drop(dying);
        let oracle = Arc::new(Notes::default());
        let db = place.builder().oracle(Arc::clone(&oracle) as Arc<dyn Oracle>).open();
        let db = db.await.unwrap();
        assert_eq!(open(&db).await[0].attempts, 0, "it was committed and not put");

        assert_eq!(round(&db, Task::OracleQuestions).await, 1);

        assert_eq!(oracle.asked(), [handle]);
        assert!(open(&db).await[0].delivered_at.is_some());
        place.pass(TimeDelta::days(1)).await;
        round(&db, Task::OracleQuestions).await;
        assert_eq!(oracle.asked(), [handle], "once taken it is not put again");
        assert_eq!(affirm(&db, handle).await.unwrap(), Disposition::CommittedCheap);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_process_died_putting_it_is_put_again_when_its_time_is_over() {
    for place in Place::all().await {
        let mut dying = Asker::start(&place, true);
        let handle = dying.says(QUEUED);
        assert_eq!(dying.says(ASKED), handle);
        drop(dying);
        let oracle = Arc::new(Notes::default());
        let db = place.builder().oracle(Arc::clone(&oracle) as Arc<dyn Oracle>).open();
        let db = db.await.unwrap();

        round(&db, Task::OracleQuestions).await;
        assert_eq!(oracle.asked(), [], "that process might still be putting it");
        place.pass(TimeDelta::minutes(3)).await;
        round(&db, Task::OracleQuestions).await;

        assert_eq!(oracle.asked(), [handle]);
        assert_eq!(open(&db).await[0].attempts, 2);
        assert_eq!(affirm(&db, handle).await.unwrap(), Disposition::CommittedCheap);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_of_the_next_process_puts_what_is_left() {
    for place in Place::all().await {
        let mut dying = Asker::start(&place, false);
        let handle = dying.says(QUEUED);
        drop(dying);
        let oracle = Arc::new(Notes::default());
        let builder = Mnemon::builder(place.url()).oracle(Arc::clone(&oracle) as Arc<dyn Oracle>);
        let db = builder.open().await.unwrap();

        // What is never put hangs.
        while oracle.asked().is_empty() || open(&db).await[0].delivered_at.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }

        assert_eq!(oracle.asked(), [handle]);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oracle_that_is_down_is_asked_later_and_later_until_it_is_back() {
    for place in Place::all().await {
        let oracle = Arc::new(Notes::default());
        oracle.down.store(true, Ordering::SeqCst);
        let db = place.builder().oracle(Arc::clone(&oracle) as Arc<dyn Oracle>).open();
        let db = db.await.unwrap();

        let handle = conflict(&db, None).await;
        for (attempt, pause) in [(1, 5), (2, 10), (3, 20), (4, 40)] {
            round(&db, Task::OracleQuestions).await;
            assert_eq!(oracle.asked(), vec![handle; attempt]);
            let question = open(&db).await.remove(0);
            assert_eq!(question.last_error.as_deref(), Some("no line"));
            place.pass(TimeDelta::seconds(pause) - TimeDelta::seconds(2)).await;
            round(&db, Task::OracleQuestions).await;
            assert_eq!(oracle.asked().len(), attempt, "not before the pause is over");
            place.pass(TimeDelta::seconds(2)).await;
        }
        oracle.down.store(false, Ordering::SeqCst);
        round(&db, Task::OracleQuestions).await;

        assert_eq!(oracle.asked(), vec![handle; 5]);
        let question = open(&db).await.remove(0);
        assert_eq!((question.attempts, question.last_error), (5, None));
        assert!(question.delivered_at.is_some());
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_nobody_took_in_time_is_over_and_may_be_asked_again() {
    for place in Place::all().await {
        let oracle = Arc::new(Notes::default());
        oracle.down.store(true, Ordering::SeqCst);
        let db = place.builder().oracle(Arc::clone(&oracle) as Arc<dyn Oracle>).open();
        let db = db.await.unwrap();
        let handle = conflict(&db, Some(60)).await;
        round(&db, Task::OracleQuestions).await;
        place.pass(TimeDelta::seconds(61)).await;

        oracle.down.store(false, Ordering::SeqCst);
        round(&db, Task::OracleQuestions).await;
        assert_eq!(oracle.asked(), [handle], "its time is over: it is not put any more");
        assert_eq!(round(&db, Task::ExpiredAdjudications).await, 1);

        assert!(open(&db).await.is_empty());
        assert!(matches!(affirm(&db, handle).await, Err(Error::NotFound { .. })));
        let belief = db.claims().belief(&planner(), &line(), AsOf::default()).await.unwrap();
        assert_eq!(belief.status, BeliefStatus::Contested);
        let again = db.claims().escalate(&planner(), &line()).await.unwrap().escalated[0];
        round(&db, Task::OracleQuestions).await;
        assert_eq!(oracle.asked(), [handle, again]);
        assert_eq!(affirm(&db, again).await.unwrap(), Disposition::CommittedCheap);
        assert!(db.claims().verify_audit(&planner()).await.unwrap().broken.is_none());
        db.close().await;
    }
}

/// Answers at once, but another question than it was asked, the first time.
#[derive(Default)]
struct Confused {
    times: AtomicU32,
}

#[async_trait]
impl Oracle for Confused {
    async fn request_adjudication(
        &self,
        request: &AdjudicationRequest,
    ) -> Result<Option<AdjudicationResponse>, OracleError> {
        let first = self.times.fetch_add(1, Ordering::SeqCst) == 0;
        let handle = if first { HandleId(uuid::Uuid::nil()) } else { request.handle_id };
        Ok(Some(AdjudicationResponse::new(handle, Verdict::Affirm)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_once_is_taken_if_it_is_to_the_question() {
    for place in Place::all().await {
        let db = place.builder().oracle(Arc::new(Confused::default())).open().await.unwrap();
        conflict(&db, None).await;

        round(&db, Task::OracleQuestions).await;
        let question = open(&db).await.remove(0);
        let error = question.last_error.unwrap();
        assert!(error.contains("another question"), "{error}");
        place.pass(TimeDelta::seconds(6)).await;
        round(&db, Task::OracleQuestions).await;

        assert!(open(&db).await.is_empty());
        let belief = db.claims().belief(&planner(), &line(), AsOf::default()).await.unwrap();
        assert_eq!(belief.primary.unwrap().value, "bob");
        db.close().await;
    }
}
