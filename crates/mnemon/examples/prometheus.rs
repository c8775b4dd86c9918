//! Serves Mnemon's metrics in Prometheus's format, beside an application that uses it:
//!
//! ```sh
//! cargo run -p mnemon --example prometheus            # then: curl http://127.0.0.1:9464/metrics
//! MNEMON_URL=postgres://… cargo run -p mnemon --features postgres --example prometheus
//! ```
//!
//! The exporter is the host's choice: Mnemon records through the `metrics` facade and knows none.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use mnemon::dead_letters::Burial;
use mnemon::metrics::{self, Kind};
use mnemon::{Mnemon, NewMemory, Recall, Scope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Where buckets of durations end, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let handle = recorder()?;
    let url = std::env::var("MNEMON_URL").unwrap_or_else(|_| "sqlite::memory:".to_owned());
    let db = Mnemon::open(&url).await?;
    tokio::spawn(work(db.clone()));

    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:9464".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("http://{}/metrics", listener.local_addr()?);
    loop {
        tokio::select! {
            client = listener.accept() => drop(tokio::spawn(answer(client?.0, handle.clone()))),
            stop = tokio::signal::ctrl_c() => {
                stop?;
                break;
            }
        }
    }
    db.close().await;
    Ok(())
}

/// The exporter, with every name of the table described, so that a scrape explains itself.
fn recorder() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration".to_owned()), &BUCKETS)?
        .install_recorder()?;
    for metric in metrics::ALL {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.meaning),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.meaning),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.meaning),
        }
    }
    Ok(handle)
}

/// One request a connection. A real application has a web framework already.
async fn answer(mut client: TcpStream, handle: PrometheusHandle) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let read = client.read(&mut request).await?;
    let found = request[..read].starts_with(b"GET /metrics ");
    let (status, body) =
        if found { ("200 OK", handle.render()) } else { ("404 Not Found", String::new()) };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    handle.run_upkeep();
    client.shutdown().await
}

/// What an application does all day, so that there is something to see.
async fn work(db: Mnemon) {
    let scope = Scope::tenant("acme").user("ada").agent("iris");
    for n in 0_u64.. {
        let told = NewMemory::new(format!("Ada has asked {n} questions"));
        let failed = Burial::new("mail", format!("m-{n}"), n.into(), "mailbox full");
        let done = async {
            db.memories().remember(&scope, told).await?;
            db.memories().recall(&scope, &Recall::text("how many questions?")).await?;
            db.dead_letters().bury(&scope, failed, None).await?;
            let minute = Duration::from_mins(1);
            for taken in db.dead_letters().take(&scope, "mail", 1, minute).await? {
                db.dead_letters().ack(&scope, &taken.receipt).await?;
            }
            Ok::<(), mnemon::Error>(())
        };
        if let Err(error) = done.await {
            eprintln!("{error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
