//! A model of the tests' own: a direction per text, of any dimension, that can be down and waits at
//! a gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use mnemon::embed::Embedder;
use mnemon::{Error, ModelSignature, Result};
use tokio::sync::Semaphore;

pub(crate) struct Hashed {
    signature: ModelSignature,
    down: AtomicBool,
    embedded: AtomicUsize,
    /// Texts that say "gate" pass with a permit of this.
    gate: Semaphore,
    reached: Semaphore,
}

impl Hashed {
    pub(crate) fn of(dimension: u32) -> Arc<Self> {
        Self::made(&format!("hashed-{dimension}"), dimension, Semaphore::MAX_PERMITS)
    }

    pub(crate) fn named(name: &str, dimension: u32) -> Arc<Self> {
        Self::made(name, dimension, Semaphore::MAX_PERMITS)
    }

    /// One whose gate is closed.
    pub(crate) fn gated(dimension: u32) -> Arc<Self> {
        Self::made(&format!("hashed-{dimension}"), dimension, 0)
    }

    fn made(name: &str, dimension: u32, permits: usize) -> Arc<Self> {
        let signature = ModelSignature {
            name: name.to_owned(),
            dimension,
            hash: format!("hash of {name}"),
            semantic: true,
        };
        Arc::new(Self {
            signature,
            down: AtomicBool::new(false),
            embedded: AtomicUsize::new(0),
            gate: Semaphore::new(permits),
            reached: Semaphore::new(0),
        })
    }

    pub(crate) fn known(&self) -> &ModelSignature {
        &self.signature
    }

    pub(crate) fn down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn embedded(&self) -> usize {
        self.embedded.load(Ordering::SeqCst)
    }

    /// Waits until somebody stands at the gate.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(1_000);
    }
}

#[async_trait]
impl Embedder for Hashed {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn embed(&self, text: &str) -> Result<Vec<f32>> {
        if self.down.load(Ordering::SeqCst) {
            let what = "the test's model is down".to_owned();
            return Err(Error::Unavailable { what, retry_after: None });
        }
        if text.contains("gate") {
            self.reached.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
        }
        self.embedded.fetch_add(1, Ordering::SeqCst);
        Ok(vector(text, self.signature.dimension))
    }
}

/// A direction that is a text's own (`SplitMix64`, seeded with its FNV-1a).
pub(crate) fn vector(text: &str, dimension: u32) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f32::from(u16::try_from(z >> 48).unwrap()) / 32_768.0 - 1.0
    };
    (0..dimension).map(|_| next()).collect()
}
