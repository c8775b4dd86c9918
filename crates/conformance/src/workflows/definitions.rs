//! Cases for definitions: versions that are never rewritten, and what is said about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mnemon_core::workflows::{
    DefinitionAbout, DefinitionFilter, Format, NewDefinition, Parameter, RunStatus, SaveRun,
};
use mnemon_core::{Error, Page, limits};
use serde_json::json;

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn yaml(id: &str, content: &str) -> NewDefinition {
    NewDefinition::new(id, Format::Yaml, content)
}

pub(crate) async fn every_field_of_a_definition_comes_back(ctx: &Ctx) {
    let workflows = ctx.workflows();
    let parameter = Parameter {
        type_name: "string".into(),
        required: true,
        default: Some(json!({ "k": [1, null] })),
        description: Some("what to lint".into()),
    };
    let save = NewDefinition {
        name: "Lint everything".into(),
        label: Some("1.2.0".into()),
        about: DefinitionAbout {
            description: Some("lints".into()),
            author: Some("ada".into()),
            tags: vec!["ci".into(), "\u{1f600}".into()],
            parameters: BTreeMap::from([("path".into(), parameter)]),
        },
        ..yaml("lint", "steps:\n  - shell: 'x'\t# \u{e9}\n")
    };

    let saved = workflows.save_definition(&ada().agent("a"), save.clone()).await.expect("saved");
    let found = workflows.definition(&acme(), "lint", None).await.expect("is there");

    assert_eq!((saved.version, saved.created), (1, true));
    assert_eq!((found.version, found.info.version), (1, 1));
    assert_eq!((&found.info.name, &found.label), (&save.name, &save.label));
    assert_eq!((found.format, &found.content), (save.format, &save.content));
    assert_eq!(found.info.about, save.about);
    assert_eq!(found.info.user.as_deref(), Some("ada"));
    assert_eq!(found.info.agent.as_deref(), Some("a"));
    assert_eq!((found.info.created_at, found.saved_at), (found.info.updated_at, found.saved_at));
}

pub(crate) async fn other_content_is_a_new_version(ctx: &Ctx) {
    let workflows = ctx.workflows();
    let save = |content: &'static str| workflows.save_definition(&ACME, yaml("d", content));

    let versions = [save("one").await, save("one").await, save("two").await, save("one").await];
    let versions = versions.map(|saved| saved.expect("is saved"));

    let expected = [(1, true), (1, false), (2, true), (3, true)];
    assert_eq!(versions.map(|saved| (saved.version, saved.created)), expected);
    for (version, content) in [(1, "one"), (2, "two"), (3, "one")] {
        let found = workflows.definition(&acme(), "d", Some(version)).await.expect("is kept");
        assert_eq!((found.content.as_str(), found.info.version), (content, 3));
    }
    fails_as(workflows.definition(&acme(), "d", Some(4)).await, "not_found");
    fails_as(workflows.definition(&acme(), "d", Some(u32::MAX)).await, "not_found");
    let stale = NewDefinition { expected_version: Some(2), ..yaml("d", "three") };
    match workflows.save_definition(&acme(), stale).await {
        Err(Error::Conflict { expected: Some(2), actual: Some(3), .. }) => {}
        other => panic!("expected a conflict, got {other:?}"),
    }
    let json = NewDefinition::new("d", Format::Json, "{\"b\": 1, \"a\": 1.50}");
    let saved = workflows.save_definition(&acme(), json.clone()).await.expect("is saved");
    let found = workflows.definition(&acme(), "d", Some(saved.version)).await.expect("is kept");
    assert_eq!((saved.version, found.content), (4, json.content), "letter by letter");
}

static ACME: std::sync::LazyLock<mnemon_core::Scope> = std::sync::LazyLock::new(acme);

pub(crate) async fn eight_writers_of_a_definition_leave_no_gap(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..8)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                for turn in 0..4 {
                    let save = yaml("d", &format!("{n} {turn}"));
                    store.workflows().save_definition(&acme(), save).await.expect("is saved");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }

    let newest = ctx.workflows().definition(&acme(), "d", None).await.expect("is there");

    assert_eq!((newest.version, ctx.rows("workflow_definition_versions").await), (32, 32));
    stores[1].close().await;
}

pub(crate) async fn what_is_said_about_a_definition_changes_alone(ctx: &Ctx) {
    let workflows = ctx.workflows();
    workflows.save_definition(&acme(), yaml("d", "one")).await.expect("is saved");
    let about = DefinitionAbout { tags: vec!["ci".into()], ..DefinitionAbout::default() };

    workflows.describe_definition(&acme(), "d", about.clone()).await.expect("is there");

    let found = workflows.definition(&acme(), "d", None).await.expect("is there");
    assert_eq!((found.info.about, found.version), (about.clone(), 1));
    fails_as(workflows.describe_definition(&acme(), "x", about).await, "not_found");
}

pub(crate) async fn definitions_are_listed_by_id_and_filtered(ctx: &Ctx) {
    let workflows = ctx.workflows();
    for (id, name, tag, author) in [
        ("b", "Lint", "ci", "ada"),
        ("a", "lint 100%", "ci", "bob"),
        ("C", "Build_all", "x", "ada"),
    ] {
        let about = DefinitionAbout {
            tags: vec![tag.into(), "all".into()],
            author: Some(author.into()),
            ..DefinitionAbout::default()
        };
        let save = NewDefinition { name: name.into(), about, ..yaml(id, "x") };
        workflows.save_definition(&acme(), save).await.expect("is saved");
    }
    let run = SaveRun {
        status: RunStatus::Running,
        definition: Some("b".into()),
        ..SaveRun::new("r", "k")
    };
    workflows.save(&acme(), run, None).await.expect("is new");
    let list = async |filter: DefinitionFilter| {
        let (mut page, mut all) = (Page::first(1), Vec::new());
        loop {
            let piece = workflows.definitions(&acme(), &filter, &page).await.expect("a page");
            all.extend(piece.items.into_iter().map(|info| (info.id, info.executions)));
            match piece.next {
                Some(next) => page.cursor = Some(next),
                None => {
                    return all.into_iter().map(|(id, n)| format!("{id}{n}")).collect::<Vec<_>>();
                }
            }
        }
    };
    let all = DefinitionFilter::default;
    let some = |text: &str| Some(text.to_owned());

    assert_eq!(list(all()).await, ["C0", "a0", "b1"]);
    assert_eq!(list(DefinitionFilter { name: some("int"), ..all() }).await, ["a0", "b1"]);
    assert_eq!(list(DefinitionFilter { name: some("%"), ..all() }).await, ["a0"], "literally");
    assert_eq!(list(DefinitionFilter { name: some("d_a"), ..all() }).await, ["C0"]);
    assert_eq!(list(DefinitionFilter { tag: some("ci"), ..all() }).await, ["a0", "b1"]);
    assert_eq!(list(DefinitionFilter { tag: some("c"), ..all() }).await, Vec::<String>::new());
    assert_eq!(list(DefinitionFilter { author: some("ada"), ..all() }).await, ["C0", "b1"]);
    let at = workflows.definition(&acme(), "a", None).await.expect("is there").info.created_at;
    assert_eq!(list(DefinitionFilter { after: Some(at), ..all() }).await, ["C0", "a0"]);
    assert_eq!(list(DefinitionFilter { before: Some(at), ..all() }).await, ["a0", "b1"]);
}

pub(crate) async fn a_deleted_definition_leaves_its_runs_history(ctx: &Ctx) {
    let workflows = ctx.workflows();
    workflows.save_definition(&acme(), yaml("d", "one")).await.expect("is saved");
    workflows.save_definition(&acme(), yaml("d", "two")).await.expect("is saved");
    let run = SaveRun {
        status: RunStatus::Running,
        definition: Some("d".into()),
        ..SaveRun::new("r", "k")
    };
    workflows.save(&acme(), run, None).await.expect("is new");

    workflows.delete_definition(&acme(), "d").await.expect("is there");

    fails_as(workflows.delete_definition(&acme(), "d").await, "not_found");
    fails_as(workflows.definition(&acme(), "d", None).await, "not_found");
    assert_eq!(ctx.rows("workflow_definition_versions").await, 0);
    let history = workflows.history(&acme(), "d", &Page::default()).await.expect("a page");
    assert_eq!(history.items.len(), 1);
    let again = workflows.save_definition(&acme(), yaml("d", "new")).await.expect("is saved");
    assert_eq!((again.version, again.created), (1, true));
}

pub(crate) async fn another_scopes_definition_is_not_found(ctx: &Ctx) {
    let workflows = ctx.workflows();
    workflows.save_definition(&ada(), yaml("d", "one")).await.expect("is saved");

    fails_as(workflows.definition(&bob(), "d", None).await, "not_found");
    fails_as(workflows.save_definition(&bob(), yaml("d", "two")).await, "not_found");
    fails_as(workflows.delete_definition(&bob(), "d").await, "not_found");
    let about = DefinitionAbout::default();
    fails_as(workflows.describe_definition(&bob(), "d", about).await, "not_found");
    assert_eq!(workflows.definition(&acme(), "d", None).await.expect("is kept").content, "one");
}

pub(crate) async fn bad_definitions_are_refused(ctx: &Ctx) {
    let workflows = ctx.workflows();
    let save = |definition| workflows.save_definition(&ACME, definition);
    refused(save(yaml(" ", "x")).await, "definition.id");
    refused(save(yaml("d", "")).await, "definition.content");
    refused(save(yaml("d", "a\0")).await, "definition.content");
    let huge = "x".repeat(limits::DEFINITION_BYTES + 1);
    refused(save(yaml("d", &huge)).await, "definition.content");
    refused(save(NewDefinition::new("d", Format::Json, "{")).await, "definition.content");
    let tags = vec!["t".to_owned(); limits::TAGS_MAX + 1];
    let about = DefinitionAbout { tags, ..DefinitionAbout::default() };
    refused(save(NewDefinition { about, ..yaml("d", "x") }).await, "definition.tags");
    let about = DefinitionAbout {
        parameters: BTreeMap::from([(String::new(), Parameter::default())]),
        ..DefinitionAbout::default()
    };
    refused(workflows.describe_definition(&acme(), "d", about).await, "definition.parameters");
    let label = "l".repeat(limits::LABEL_BYTES + 1);
    let labelled = NewDefinition { label: Some(label), ..yaml("d", "x") };
    refused(save(labelled).await, "definition.label");
    let filter = DefinitionFilter { tag: Some(String::new()), ..DefinitionFilter::default() };
    refused(workflows.definitions(&acme(), &filter, &Page::default()).await, "filter.tag");
    let foreign = Page { cursor: "events:1".parse().ok(), ..Page::default() };
    let all = DefinitionFilter::default();
    refused(workflows.definitions(&acme(), &all, &foreign).await, "page.cursor");
    refused(workflows.definition(&acme(), "", None).await, "definition.id");
    assert_eq!(ctx.rows("workflow_definitions").await, 0);
}
