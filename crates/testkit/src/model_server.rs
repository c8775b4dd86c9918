//! A model server of ours on a local port: answers what a test says, and keeps what it was asked.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

/// What a server was asked.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Its place among the requests, from 0.
    pub number: usize,
    /// The path: `/v1/embeddings`.
    pub path: String,
    /// The header `authorization`.
    pub authorization: Option<String>,
    /// The body; null when it is no JSON.
    pub body: Value,
}

/// What a server does about a request.
#[derive(Clone, Debug)]
pub enum ModelReply {
    /// A status and a body.
    Json(u16, Value),
    /// A status, one further header line, and a body as it is.
    Raw(u16, String, Vec<u8>),
    /// Nothing until the server goes.
    Hang,
    /// Closes the connection.
    Drop,
}

type Answer = dyn Fn(&ModelRequest) -> ModelReply + Send + Sync;

/// A running server; gone when this is dropped.
pub struct ModelServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<ModelRequest>>>,
    state: Arc<State>,
}

struct State {
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl ModelServer {
    /// Starts one on a port that was free.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    pub fn start(answer: impl Fn(&ModelRequest) -> ModelReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a local port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(State { ended: AtomicBool::new(false), open: Mutex::new(Vec::new()) });
        let answer: Arc<Answer> = Arc::new(answer);
        let server = Self { address, seen: Arc::clone(&seen), state: Arc::clone(&state) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if state.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Ok(copy) = stream.try_clone() {
                    lock(&state.open).push(copy);
                }
                let (answer, seen, state) =
                    (Arc::clone(&answer), Arc::clone(&seen), Arc::clone(&state));
                thread::spawn(move || serve(stream, answer.as_ref(), &seen, &state));
            }
        });
        server
    }

    /// Where it is: `http://127.0.0.1:PORT/v1`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<ModelRequest> {
        lock(&self.seen).clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        for stream in lock(&self.state.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the one that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, answer: &Answer, seen: &Mutex<Vec<ModelRequest>>, state: &State) {
    let Ok(copy) = stream.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(copy), stream);
    while let Ok(Some(mut request)) = read(&mut reader) {
        {
            let mut seen = lock(seen);
            request.number = seen.len();
            seen.push(request.clone());
        }
        let done = match answer(&request) {
            ModelReply::Json(status, body) => write(
                &mut writer,
                status,
                "content-type: application/json",
                body.to_string().as_bytes(),
            ),
            ModelReply::Raw(status, header, body) => write(&mut writer, status, &header, &body),
            ModelReply::Hang => {
                // Reads until the client or this server closes the connection.
                let _ = reader.read(&mut [0]);
                break;
            }
            ModelReply::Drop => break,
        };
        if done.is_err() || state.ended.load(Ordering::Acquire) {
            break;
        }
    }
    let _ = writer.shutdown(Shutdown::Both);
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<ModelRequest>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(ModelRequest { number: 0, path, authorization, body }))
}

fn write(writer: &mut TcpStream, status: u16, header: &str, body: &[u8]) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 {status} as asked\r\ncontent-length: {}\r\n{header}\r\n\r\n",
        body.len()
    )?;
    writer.write_all(body)?;
    writer.flush()
}
