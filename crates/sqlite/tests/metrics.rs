//! What a store tells a host's metrics: names of the one table, no labels of a caller's.

mod common;

use std::sync::{Arc, Mutex};

use common::{Place, remember};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use mnemon_core::{Error, MemoryId, Scope, Store, metric_names};

/// Notes which metrics were asked for, with their labels.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<String>>>);

impl Names {
    fn note(&self, key: &Key) {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(","));
        self.0.lock().expect("no test panics with it").push(name.trim().to_owned());
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[tokio::test]
async fn operations_failures_and_threads_are_counted_under_the_names_of_the_table() {
    let names = Names::default();
    metrics::set_global_recorder(names.clone()).expect("the only one of this process");
    let place = Place::new();
    let store = place.open().await.unwrap();

    remember(&store, "counted").await.unwrap();
    let id: MemoryId = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    let missing = store.memories().get(&Scope::tenant("acme"), id).await;

    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let noted = names.0.lock().unwrap();
    for expected in [
        "queries_total operation=writing memories",
        "query_duration operation=writing memories",
        "errors_total operation=reading a memory,code=not_found",
        "pool_size",
        "pool_idle",
        "pool_waiting",
        "pool_acquire_duration",
        "connections_active",
    ] {
        assert!(noted.iter().any(|name| name == expected), "{expected}: {noted:?}");
    }
    assert!(noted.iter().all(|name| !name.contains("acme")), "{noted:?}");
    assert!(noted.iter().all(|name| {
        let name = name.split(' ').next().unwrap_or_default();
        metric_names::ALL.iter().any(|metric| metric.name == name)
    }));
}
