//! A TCP proxy that understands where a client's messages end: pauses, cuts, refuses, and strikes at the n-th.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use crate::service::Service;
use crate::wire::{Frontend, Message, ends_ready};

const CHUNK: usize = 64 * 1024;

/// Which message of the clients it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trip {
    /// The n-th, from 1, counted over all connections from the setting of the trip on; logins do not count.
    Message(u64),
    /// The first whose SQL begins with these words, whatever their case: a simple query or a `Parse`.
    Statement(String),
}

/// When the proxy strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Instead of forwarding the message: the server never sees it.
    Before,
    /// When the server has answered it (or has got it, if it answers only later messages); the client does not
    /// see the answer.
    After,
}

/// A TCP proxy in front of a PostgreSQL server. Its connections are plain text: `sslmode=disable` or `prefer`.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    service: Service,
}

impl Proxy {
    /// A proxy to `host:port`, on a port of its own; see [`crate::Server::address`]. It runs until dropped.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(server: &str) -> Self {
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            paused: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            messages: AtomicU64::new(0),
            wire: Mutex::new(None),
        });
        let (commands, inbox) = mpsc::unbounded_channel();
        let for_service = Arc::clone(&shared);
        let service = Service::spawn(move |listener| serve(listener, inbox, for_service));
        Self { shared, commands, service }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// The same database URL, through this proxy.
    ///
    /// # Panics
    /// When it is no URL.
    pub fn url(&self, url: &str) -> String {
        self.service.url(url, "127.0.0.1")
    }

    /// Holds back every byte in both directions, until [`Self::resume`].
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Lets bytes pass again, those held back first.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Cuts every connection there is; new ones are welcome.
    pub fn drop_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Stops listening: new connections are refused, those there are stay.
    ///
    /// # Panics
    /// When the proxy's thread is gone.
    pub fn refuse(&self) {
        self.command(Command::Refuse);
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    /// When the port was taken in the meantime.
    pub fn accept(&self) {
        self.command(Command::Accept);
    }

    /// Messages of clients forwarded so far, logins not counted.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::SeqCst)
    }

    /// Cuts the connection at this message, once.
    pub fn cut_at(&self, trip: Trip, when: When) {
        self.call_at(trip, when, || {});
    }

    /// Calls `strike` at this message, once, then cuts the connection. `strike` runs on the proxy's thread and
    /// holds up everything until it returns: kill the client there.
    pub fn call_at(&self, trip: Trip, when: When, strike: impl FnOnce() + Send + 'static) {
        let seen = self.messages();
        let tripwire = Tripwire { trip, when, seen, strike: Box::new(strike) };
        *self.shared.wire.lock().unwrap_or_else(PoisonError::into_inner) = Some(tripwire);
    }

    fn command(&self, make: impl FnOnce(SyncSender<()>) -> Command) {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        self.commands.send(make(done)).expect("the proxy runs");
        wait.recv().expect("the proxy answers");
    }
}

enum Command {
    Refuse(SyncSender<()>),
    Accept(SyncSender<()>),
}

#[derive(Debug)]
struct Shared {
    server: String,
    paused: watch::Sender<bool>,
    cuts: watch::Sender<u64>,
    messages: AtomicU64,
    wire: Mutex<Option<Tripwire>>,
}

struct Tripwire {
    trip: Trip,
    when: When,
    /// Messages that had passed when it was set.
    seen: u64,
    strike: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Tripwire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tripwire")
            .field("trip", &self.trip)
            .field("when", &self.when)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Counts a message; the tripwire, if it is the one.
    fn count(&self, message: &Message<'_>) -> Option<Tripwire> {
        if !message.counts() {
            return None;
        }
        let number = self.messages.fetch_add(1, Ordering::SeqCst) + 1;
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let hit = match &wire.as_ref()?.trip {
            Trip::Message(n) => number == wire.as_ref()?.seen + n,
            Trip::Statement(words) => message.sql().is_some_and(|sql| begins(sql, words)),
        };
        if hit { wire.take() } else { None }
    }

    async fn unpaused(&self) {
        // Fails only without a sender, and `self` is it.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }
}

fn begins(sql: &str, words: &str) -> bool {
    sql.trim_start().get(..words.len()).is_some_and(|start| start.eq_ignore_ascii_case(words))
}

async fn serve(
    listener: TcpListener,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
) {
    let address = listener.local_addr().expect("a bound listener has an address");
    let mut listener = Some(listener);
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                None => return,
                Some(Command::Refuse(done)) => {
                    listener = None;
                    let _ = done.send(());
                }
                Some(Command::Accept(done)) => {
                    if listener.is_none() {
                        listener = Some(TcpListener::bind(address).await.expect("the proxy's port is still free"));
                    }
                    let _ = done.send(());
                }
            },
            client = next(listener.as_ref()) => {
                if let Ok(client) = client {
                    tokio::spawn(relay(client, Arc::clone(&shared)));
                }
            }
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

/// What the two directions of one connection tell each other.
#[derive(Default)]
struct Held {
    withhold: AtomicBool,
    answered: Notify,
}

/// Both directions, until either ends or everything is cut; both sockets close then.
async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = TcpStream::connect(&shared.server).await else {
        return;
    };
    // Small messages must not wait for each other.
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let held = Held::default();
    tokio::select! {
        _ = cuts.changed() => {}
        _ = requests(from_client, to_server, &shared, &held) => {}
        _ = answers(from_server, to_client, &shared, &held) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    held: &Held,
) -> io::Result<()> {
    let mut frontend = Frontend::default();
    let mut buffer = Vec::with_capacity(CHUNK);
    while from.read_buf(&mut buffer).await? > 0 {
        let mut used = 0;
        while let Some(message) = frontend.next(&buffer[used..]) {
            shared.unpaused().await;
            if let Some(wire) = shared.count(&message) {
                if wire.when == When::After {
                    held.withhold.store(true, Ordering::SeqCst);
                    to.write_all(message.bytes).await?;
                    if message.is_answered() {
                        held.answered.notified().await;
                    }
                }
                (wire.strike)();
                return Ok(());
            }
            to.write_all(message.bytes).await?;
            used += message.bytes.len();
        }
        buffer.drain(..used);
    }
    Ok(())
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    held: &Held,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(CHUNK);
    while from.read_buf(&mut buffer).await? > 0 {
        shared.unpaused().await;
        if held.withhold.load(Ordering::SeqCst) {
            if ends_ready(&buffer) {
                held.answered.notify_one();
            }
        } else {
            to.write_all(&buffer).await?;
            buffer.clear();
        }
    }
    Ok(())
}
