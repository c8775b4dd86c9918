//! TLS in front of a server that has none: answers `SSLRequest`, ends TLS, forwards in plain text.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::service::Service;
use crate::wire::SSL_REQUEST;

/// What a client without TLS is told, as a server with `hostssl` lines only does.
const REFUSAL: &[u8] =
    b"SFATAL\0VFATAL\0C28000\0Mno encryption: this test server takes TLS only\0\0";

/// A proxy that a client can only use with TLS. Certificates and client authentication are the config's.
#[derive(Debug)]
pub struct TlsProxy {
    service: Service,
}

impl TlsProxy {
    /// A proxy to `host:port`, on a port of its own; see [`crate::Server::address`]. It runs until dropped.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn to(server: &str, config: Arc<ServerConfig>) -> Self {
        let server = server.to_owned();
        Self {
            service: Service::spawn(move |listener| {
                serve(listener, server, TlsAcceptor::from(config))
            }),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// The same database URL through this proxy, under this host name (`localhost`, `127.0.0.1`).
    ///
    /// # Panics
    /// When it is no URL, or no host name.
    pub fn url(&self, url: &str, host: &str) -> String {
        self.service.url(url, host)
    }
}

async fn serve(listener: TcpListener, server: String, acceptor: TlsAcceptor) {
    let server: Arc<str> = server.into();
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
            // How a connection ends is the test's matter: it sees it on its own side.
            tokio::spawn(async move { drop(relay(client, &server, acceptor).await) });
        }
    }
}

async fn relay(mut client: TcpStream, server: &str, acceptor: TlsAcceptor) -> io::Result<()> {
    let (_length, code) = (client.read_u32().await?, client.read_u32().await?);
    if code != SSL_REQUEST {
        return refuse(client).await;
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn refuse(mut client: TcpStream) -> io::Result<()> {
    let length = u32::try_from(REFUSAL.len() + 4).expect("a short message");
    client.write_u8(b'E').await?;
    client.write_u32(length).await?;
    client.write_all(REFUSAL).await?;
    client.shutdown().await
}
