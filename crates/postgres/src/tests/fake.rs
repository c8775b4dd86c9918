//! Servers that say one thing to whoever connects.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SSL_REQUEST: u32 = 80_877_103;

/// A server that answers every login with these bytes.
pub(super) async fn answering(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move { drop(serve(client, &answer).await) });
        }
    });
    address
}

/// A server that refuses every login with this SQLSTATE.
pub(super) async fn refusing(code: &str, message: &str) -> SocketAddr {
    answering(refusal(code, message)).await
}

/// A server that takes connections and never says a word.
pub(super) async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            held.push(client);
        }
    });
    address
}

/// A port where nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn refusal(code: &str, message: &str) -> Vec<u8> {
    let body = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(body.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], body.as_bytes()].concat()
}

async fn serve(mut client: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        if code == SSL_REQUEST {
            client.write_all(b"N").await?;
            continue;
        }
        let mut rest = vec![0; length as usize - 8];
        client.read_exact(&mut rest).await?;
        client.write_all(answer).await?;
        return client.shutdown().await;
    }
}
