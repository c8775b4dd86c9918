//! The reference model: what a correct store answers, computed in memory from the scope table
//! ([`Rule`]) and core's pure decisions, without a database.

use std::cmp::Reverse;
use std::collections::HashMap;

use mnemon_core::memories::bm25::{self, Candidate, Corpus, QueryTerm};
use mnemon_core::memories::text::{Document, Language, Phrase, Question, analyze, plan};
use mnemon_core::memories::{MemoryFilter, NewMemory, Visibility};
use mnemon_core::scope::{Part, Rule};
use mnemon_core::{Facet, MemoryId, Scope, limits};

/// Whom a row is open to beyond its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    Owner,
    Groups(Vec<String>),
    Tenant,
}

/// Whether a scope may ask a facet at all: every key part is there.
pub(crate) fn admitted(rule: Rule, reader: &Scope) -> bool {
    let complete = |part: Part, value: &Option<String>| {
        part != Part::Key || value.as_deref().is_some_and(|value| !value.trim().is_empty())
    };
    !reader.tenant.trim().is_empty()
        && complete(rule.user, &reader.user)
        && complete(rule.agent, &reader.agent)
        && complete(rule.session, &reader.session)
        && complete(rule.run, &reader.run)
}

/// Whether a reader sees what `writer` wrote.
pub(crate) fn sees(rule: Rule, reader: &Scope, writer: &Scope, sharing: &Sharing) -> bool {
    let open = match sharing {
        Sharing::Owner => false,
        Sharing::Groups(groups) => groups.iter().any(|group| reader.groups.contains(group)),
        Sharing::Tenant => true,
    };
    reaches(rule, reader, writer, open)
}

/// Whether a reader may change or delete it: what others share is not the reader's.
pub(crate) fn owns(rule: Rule, reader: &Scope, writer: &Scope) -> bool {
    reaches(rule, reader, writer, false)
}

fn reaches(rule: Rule, reader: &Scope, writer: &Scope, open: bool) -> bool {
    let part = |part: Part, reader: &Option<String>, writer: &Option<String>| match part {
        Part::Key => reader == writer,
        Part::Owner => reader.is_none() || writer.is_none() || reader == writer || open,
        Part::Filter => reader.is_none() || reader == writer,
        Part::Noted | Part::Unused => true,
    };
    reader.tenant == writer.tenant
        && part(rule.user, &reader.user, &writer.user)
        && part(rule.agent, &reader.agent, &writer.agent)
        && part(rule.session, &reader.session, &writer.session)
        && part(rule.run, &reader.run, &writer.run)
}

/// A memory in the model.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: MemoryId,
    pub(crate) writer: Scope,
    pub(crate) memory: NewMemory,
    document: Document,
}

impl Kept {
    pub(crate) fn sharing(&self) -> Sharing {
        let admitted = self.writer.admit(Facet::Memories).expect("only admitted scopes write");
        match self.memory.visibility_for(&admitted) {
            Visibility::Private => Sharing::Owner,
            Visibility::Shared => Sharing::Groups(self.memory.shared_with.clone()),
            Visibility::Tenant => Sharing::Tenant,
        }
    }

    /// Same owner, agent and namespace.
    fn beside(&self, writer: &Scope, memory: &NewMemory) -> bool {
        self.writer.tenant == writer.tenant
            && self.writer.user == writer.user
            && self.writer.agent == writer.agent
            && self.memory.namespace == memory.namespace
    }
}

/// What a write is expected to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Creates,
    Finds(MemoryId),
    KeyTaken,
}

/// The memories of one database.
#[derive(Default)]
pub(crate) struct Model {
    language: Language,
    rows: Vec<Kept>,
}

impl Model {
    /// Of a database in a language.
    pub(crate) fn of(language: Language) -> Self {
        Self { language, rows: Vec::new() }
    }

    /// Cuts everything anew.
    pub(crate) fn cut_in(&mut self, language: Language) {
        self.language = language;
        for row in &mut self.rows {
            row.document = cut(language, &row.memory);
        }
    }

    /// What writing this would do.
    pub(crate) fn write(&self, writer: &Scope, memory: &NewMemory) -> Write {
        let near = || self.rows.iter().filter(|row| row.beside(writer, memory));
        if let Some(key) = &memory.key
            && let Some(row) = near().find(|row| row.memory.key.as_ref() == Some(key))
        {
            let same = row.memory.content == memory.content;
            return if same { Write::Finds(row.id) } else { Write::KeyTaken };
        }
        if memory.allow_duplicate {
            return Write::Creates;
        }
        near()
            .find(|row| !row.memory.allow_duplicate && row.memory.content == memory.content)
            .map_or(Write::Creates, |row| Write::Finds(row.id))
    }

    /// Takes in what a store wrote.
    pub(crate) fn keep(&mut self, id: MemoryId, writer: &Scope, memory: NewMemory) {
        let document = cut(self.language, &memory);
        self.rows.push(Kept { id, writer: writer.clone(), memory, document });
    }

    /// Whether a scope deletes this id.
    pub(crate) fn deletes(&self, reader: &Scope, id: MemoryId) -> bool {
        let rule = Facet::Memories.rule();
        self.rows.iter().any(|row| row.id == id && owns(rule, reader, &row.writer))
    }

    pub(crate) fn delete(&mut self, id: MemoryId) {
        self.rows.retain(|row| row.id != id);
    }

    /// Takes in what a change did.
    pub(crate) fn change(&mut self, id: MemoryId, change: impl FnOnce(&mut NewMemory)) {
        let row = self.rows.iter_mut().find(|row| row.id == id).expect("only kept ones change");
        change(&mut row.memory);
        row.document = cut(self.language, &row.memory);
    }

    /// Whether a scope sees this id.
    pub(crate) fn shows(&self, reader: &Scope, id: MemoryId) -> bool {
        self.seen(reader, &MemoryFilter::default()).any(|row| row.id == id)
    }

    /// Everything ever kept and not deleted.
    pub(crate) fn rows(&self) -> &[Kept] {
        &self.rows
    }

    fn seen<'a>(
        &'a self,
        reader: &'a Scope,
        filter: &'a MemoryFilter,
    ) -> impl Iterator<Item = &'a Kept> {
        let rule = Facet::Memories.rule();
        self.rows.iter().filter(move |row| {
            sees(rule, reader, &row.writer, &row.sharing()) && passes(filter, &row.memory)
        })
    }

    /// What a list answers, newest first.
    pub(crate) fn list(&self, reader: &Scope, filter: &MemoryFilter) -> Vec<MemoryId> {
        let mut ids: Vec<MemoryId> = self.seen(reader, filter).map(|row| row.id).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids
    }

    /// What the words of a question find, with their BM25 scores, best first.
    pub(crate) fn recall(
        &self,
        reader: &Scope,
        text: &str,
        filter: &MemoryFilter,
        limit: usize,
    ) -> Vec<(MemoryId, f64)> {
        let question = Question::parse(self.language, text);
        // Frequencies are the tenant's, whoever of it asks.
        let tenant: Vec<&Kept> =
            self.rows.iter().filter(|row| row.writer.tenant == reader.tenant).collect();
        let corpus = Corpus {
            documents: tenant.len() as u64,
            words: tenant.iter().map(|row| u64::from(row.document.words)).sum(),
        };
        let terms = question
            .terms
            .iter()
            .map(|lexeme| QueryTerm {
                lexeme: lexeme.clone(),
                documents: tenant.iter().filter(|row| row.document.count(lexeme) > 0.0).count()
                    as u64,
            })
            .collect();
        let plan = plan(terms, &corpus);
        let mut candidates: Vec<Candidate<MemoryId>> = self
            .seen(reader, filter)
            .filter(|row| plan.seek.iter().any(|seek| row.document.lexemes.contains_key(seek)))
            .filter(|row| question.required.iter().all(|phrase| holds(&row.document, phrase)))
            .filter(|row| !question.excluded.iter().any(|phrase| holds(&row.document, phrase)))
            .map(|row| Candidate {
                key: row.id,
                words: row.document.words,
                counts: counts(&row.document, &plan.score),
            })
            .collect();
        candidates.sort_by_key(|candidate| Reverse(candidate.key));
        candidates.truncate(limits::TEXT_CANDIDATES as usize);
        bm25::rank(&candidates, &plan.score, &corpus, limit)
    }
}

fn cut(language: Language, memory: &NewMemory) -> Document {
    analyze(language, &memory.content, &memory.node_type, &memory.tags)
}

fn counts(document: &Document, terms: &[QueryTerm]) -> HashMap<String, f64> {
    terms
        .iter()
        .map(|term| (term.lexeme.clone(), document.count(&term.lexeme)))
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

/// Whether the lexemes of a phrase follow each other at their distances.
fn holds(document: &Document, phrase: &Phrase) -> bool {
    let positions = |lexeme: &str| {
        let found = document.lexemes.get(lexeme).map_or(&[][..], Vec::as_slice);
        found.iter().map(|at| at.position).collect::<Vec<u16>>()
    };
    let Some((_, first)) = phrase.first() else {
        return true;
    };
    positions(first).into_iter().any(|start| {
        let mut place = start;
        phrase.iter().skip(1).all(|(distance, lexeme)| {
            place = place.saturating_add(*distance);
            positions(lexeme).contains(&place)
        })
    })
}

fn passes(filter: &MemoryFilter, memory: &NewMemory) -> bool {
    let within = |at: &str, root: &str| {
        root.is_empty() || at == root || at.strip_prefix(root).is_some_and(|r| r.starts_with('/'))
    };
    filter.namespace.as_ref().is_none_or(|root| within(memory.namespace.as_str(), root.as_str()))
        && (filter.tags.is_empty() || filter.tags.iter().any(|tag| memory.tags.contains(tag)))
        && (filter.node_types.is_empty() || filter.node_types.contains(&memory.node_type))
}
