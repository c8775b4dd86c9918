//! The `local` model with the real weights of all-MiniLM-L6-v2, beside a reference that numpy
//! computed without candle.

#![allow(clippy::unwrap_used, reason = "test code outside of a test function")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mnemon::core::memories::vector::cosine;
use mnemon::embed::{Embedder, Local, ModelChoice};
use mnemon::{Fusion, Mnemon, NewMemory, Recall, Scope};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Reference {
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    vector: Vec<f32>,
}

fn reference() -> Vec<Sentence> {
    let text = include_str!("fixtures/minilm.json");
    serde_json::from_str::<Reference>(text).unwrap().sentences
}

fn weights() -> PathBuf {
    mnemon_testkit::minilm().unwrap()
}

/// A folder with copies of the small files and links to the weights.
fn folder_with(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::os::unix::fs::symlink(weights().join(file), folder.path().join(file)).unwrap();
    }
    folder
}

async fn refused(folder: &Path) -> String {
    let error = Local::load(folder).await.unwrap_err();
    assert_eq!(error.code(), "setup", "{error}");
    error.to_string()
}

#[tokio::test]
async fn the_vectors_are_those_of_the_reference() {
    let model = Local::load(weights()).await.unwrap();
    let sentences = reference();
    assert_eq!(sentences.len(), 20);

    for Sentence { text, vector } in &sentences {
        let found = model.embed(text).await.unwrap();

        assert!(cosine(&found, vector) >= 0.9999, "{text}: {}", cosine(&found, vector));
        let length: f32 = found.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{text}: {length}");
    }
}

#[tokio::test]
async fn a_batch_answers_in_its_order_what_each_text_alone_would() {
    let model = Local::load(weights()).await.unwrap();
    let sentences = reference();
    // More than one batch, long and short ones mixed.
    let texts: Vec<&str> =
        sentences.iter().cycle().take(50).map(|sentence| sentence.text.as_str()).collect();

    let vectors = model.embed_batch(&texts).await.unwrap();

    assert_eq!(vectors.len(), texts.len());
    for (vector, sentence) in vectors.iter().zip(sentences.iter().cycle()) {
        let near = cosine(vector, &sentence.vector);
        assert!(near >= 0.9999, "{}: {near}", sentence.text);
    }
    assert!(model.embed_batch(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_signature_is_of_the_contents_and_not_of_the_place() {
    let one = Local::load(weights()).await.unwrap();
    let files = ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json"];
    let elsewhere = folder_with(&files);
    let same = Local::load(elsewhere.path()).await.unwrap();
    // Without its own length a model sees more of a long text: other vectors, another signature.
    let longer = folder_with(&files[..3]);
    let other = Local::load(longer.path()).await.unwrap();

    assert_eq!(one.signature(), same.signature());
    assert_ne!(one.signature().hash, other.signature().hash);
    assert_eq!(one.signature().dimension, 384);
    assert!(one.signature().semantic);
}

#[tokio::test]
async fn what_is_missing_or_not_usable_is_named() {
    let nowhere = refused(Path::new("/nonexistent/model")).await;
    assert!(nowhere.contains("/nonexistent/model does not exist"), "{nowhere}");

    let all = ["config.json", "tokenizer.json", "model.safetensors"];
    for missing in all {
        let others: Vec<&str> = all.into_iter().filter(|file| *file != missing).collect();
        let folder = folder_with(&others);
        let message = refused(folder.path()).await;
        assert!(message.contains(&format!("{missing} is missing")), "{message}");
    }
    for (broken, contents) in [
        ("config.json", "{}"),
        ("config.json", r#"{"hidden_size": 0, "max_position_embeddings": 512}"#),
        ("tokenizer.json", "[]"),
        ("model.safetensors", "no weights"),
        ("sentence_bert_config.json", r#"{"max_seq_length": 1}"#),
    ] {
        let others: Vec<&str> = all.into_iter().filter(|file| *file != broken).collect();
        let folder = folder_with(&others);
        fs::write(folder.path().join(broken), contents).unwrap();
        let message = refused(folder.path()).await;
        assert!(message.contains("is not usable"), "{broken}: {message}");
    }
    let folder = folder_with(&all);
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token": true}"#)
        .unwrap();
    let message = refused(folder.path()).await;
    assert!(message.contains("does not pool by the mean"), "{message}");
}

#[tokio::test]
async fn a_runtime_of_one_thread_goes_on_while_the_model_works() {
    let model = Local::load(weights()).await.unwrap();
    let texts = vec!["Nobody waits for this text to be embedded. "; 64];

    let mut ticks = 0_u32;
    let work = model.embed_batch(&texts);
    tokio::pin!(work);
    let vectors = loop {
        tokio::select! {
            vectors = &mut work => break vectors.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(1)) => ticks += 1,
        }
    };

    assert_eq!(vectors.len(), 64);
    assert!(ticks > 0, "the runtime stood still");
}

#[tokio::test]
async fn a_paraphrase_is_found_by_its_meaning() {
    let model = format!("local:{}", weights().display());
    assert!(matches!(model.parse(), Ok(ModelChoice::Local(_))));
    let db = Mnemon::builder("sqlite::memory:").model(&model).open().await.unwrap();
    let ada = Scope::tenant("acme").user("ada");
    for text in ["A man is playing the guitar on the street", "The stock market fell sharply"] {
        db.memories().remember(&ada, NewMemory::new(text)).await.unwrap();
    }

    // No word in common with what is sought.
    let question =
        Recall { fusion: Fusion::default(), ..Recall::text("outdoor music performance") };
    let hits = db.memories().recall(&ada, &question).await.unwrap();

    assert_eq!(hits[0].memory.content, "A man is playing the guitar on the street");
    assert_eq!((hits[0].text_rank, hits[0].vector_rank), (None, Some(1)));
    db.close().await;
}
