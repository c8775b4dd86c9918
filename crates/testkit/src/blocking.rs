//! Async work from a plain function, also inside somebody else's runtime (drops, `Server::get`).

use std::future::Future;

/// Runs the future to its end on a thread and a runtime of its own.
///
/// # Panics
/// When the runtime cannot be made or the future panics.
pub(crate) fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for the test kit's own connections")
                    .block_on(future)
            })
            .join()
            .expect("the test kit's own work does not panic")
    })
}
