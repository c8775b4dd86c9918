//! A pooler of the worst kind, small enough to have anywhere: it deals server connections out
//! transaction by transaction and knows nothing of prepared statements, as `PgBouncer` before 1.21.

use std::io;
use std::sync::{Arc, Mutex};

use mnemon_core::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pgbouncer::questions;
use super::{database, open};

const SSL_REQUEST: u32 = 80_877_103;

/// When a server connection goes to the next client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Transaction,
    Session,
}

struct Pool {
    server: String,
    mode: Mode,
    idle: Mutex<Vec<TcpStream>>,
    size: Arc<Semaphore>,
}

/// A server connection in a client's hands.
struct Held {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

/// Starts one in front of `server` and answers its address.
async fn start(server: String, mode: Mode, size: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let size = Arc::new(Semaphore::new(size));
    let pool = Arc::new(Pool { server, mode, idle: Mutex::default(), size });
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            client.set_nodelay(true).unwrap();
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { drop(pool.serve(client).await) });
        }
    });
    address
}

impl Pool {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let startup = startup(&mut client).await?;
        let mut held = Some(self.take(&startup, Some(&mut client)).await?);
        self.give_back(&mut held);
        let mut batch = Vec::new();
        loop {
            let message = message(&mut client).await?;
            let kind = message[0];
            if kind == b'X' {
                return Ok(());
            }
            batch.extend(message);
            if !matches!(kind, b'Q' | b'S') {
                continue;
            }
            let server = match &mut held {
                Some(server) => server,
                none => none.insert(self.take(&startup, None).await?),
            };
            server.stream.write_all(&batch).await?;
            batch.clear();
            if relay(&mut server.stream, Some(&mut client)).await? == b'I' {
                self.give_back(&mut held);
            }
        }
    }

    /// The connection given back last, or a new one; what a new one says goes to `greet`, who must
    /// be greeted by somebody.
    async fn take(&self, startup: &[u8], greet: Option<&mut TcpStream>) -> io::Result<Held> {
        let permit = Arc::clone(&self.size).acquire_owned().await.expect("never closed");
        let idle = if greet.is_some() { None } else { self.idle.lock().unwrap().pop() };
        let stream = if let Some(stream) = idle {
            stream
        } else {
            let mut stream = TcpStream::connect(&self.server).await?;
            stream.set_nodelay(true)?;
            stream.write_all(startup).await?;
            relay(&mut stream, greet).await?;
            stream
        };
        Ok(Held { stream, _permit: permit })
    }

    fn give_back(&self, held: &mut Option<Held>) {
        if self.mode == Mode::Transaction
            && let Some(held) = held.take()
        {
            self.idle.lock().unwrap().push(held.stream);
        }
    }
}

/// The start-up packet, after refusing TLS.
async fn startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    loop {
        let (length, code) = (client.read_u32().await?, client.read_u32().await?);
        if code == SSL_REQUEST {
            client.write_all(b"N").await?;
            continue;
        }
        let mut packet = [length.to_be_bytes(), code.to_be_bytes()].concat();
        packet.resize(length as usize, 0);
        client.read_exact(&mut packet[8..]).await?;
        return Ok(packet);
    }
}

/// One whole message with its type.
async fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (kind, length) = (stream.read_u8().await?, stream.read_u32().await?);
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(length as usize + 1, 0);
    stream.read_exact(&mut message[5..]).await?;
    Ok(message)
}

/// Forwards messages up to and with `ReadyForQuery`; answers its transaction status.
async fn relay(server: &mut TcpStream, mut client: Option<&mut TcpStream>) -> io::Result<u8> {
    loop {
        let message = message(server).await?;
        if let Some(client) = &mut client {
            client.write_all(&message).await?;
        }
        if message[0] == b'Z' {
            return Ok(message[5]);
        }
    }
}

#[tokio::test]
async fn a_pooler_that_mixes_up_statements_is_refused_at_open() {
    let Some(db) = database().await else { return };
    let server = db.server().address();
    for size in [1, 2, 4, 16] {
        let pooler = start(server.clone(), Mode::Transaction, size).await;
        // Again and again: its server connections then hold other clients' statements.
        for _ in 0..5 {
            let error = open(&db.url().replace(&server, &pooler)).await.map(|_| ()).unwrap_err();

            assert!(matches!(error, Error::Setup { .. }), "{size}: {error:?}");
            assert!(error.to_string().contains("max_prepared_statements"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_pooler_that_gives_every_client_its_own_connection_is_taken() {
    let Some(db) = database().await else { return };
    let server = db.server().address();
    let pooler = start(server.clone(), Mode::Session, 32).await;
    let link = open(&db.url().replace(&server, &pooler)).await.unwrap();

    questions(&link, 30).await;
}
