//! A proxy's thread: it has a runtime of its own, so that a test which blocks does not stall its own proxy.

use std::future::Future;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Runs until dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Listens on a free port of 127.0.0.1 and hands the listener to `serve`.
    pub(crate) fn spawn<S, F>(serve: S) -> Self
    where
        S: FnOnce(TcpListener) -> F + Send + 'static,
        F: Future<Output = ()>,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        listener.set_nonblocking(true).expect("a fresh listener can be set non-blocking");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the proxy");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener for the proxy");
                tokio::select! {
                    () = serve(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// The same URL, but to this service at `host`.
    pub(crate) fn url(&self, url: &str, host: &str) -> String {
        let mut url = url::Url::parse(url).expect("a database URL");
        url.set_host(Some(host)).expect("a host name");
        url.set_port(Some(self.address.port())).expect("a URL with a host takes a port");
        url.into()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the proxy was printed by its own thread.
            let _ = thread.join();
        }
    }
}
