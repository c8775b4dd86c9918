//! What the bench writes and asks: memories of a few tenants and users, so that 10 %, 1 % and 0.1 %
//! of them are one tenant's, one user's or of one tag; questions about some of them.

use std::collections::HashMap;

use mnemon::{NewMemory, Scope};

use crate::vectors::{Source, Text, word};

/// Owners of the big tenant's other memories.
const OTHERS: usize = 20;
/// Of a question's words, the share of memories from which on one counts as common here.
const COMMON: f64 = 0.10;
/// Questions that hold a common word.
const WITH_COMMON: f64 = 0.30;
/// The tenant of most memories.
const TENANT: &str = "main";

/// One memory and where it belongs.
pub(super) struct Row {
    pub(super) text: Text,
    pub(super) tenant: &'static str,
    pub(super) user: String,
    tag: Option<&'static str>,
}

impl Row {
    /// Who writes it.
    pub(super) fn owner(&self) -> Scope {
        Scope::tenant(self.tenant).user(&self.user)
    }

    /// What is written.
    pub(super) fn memory(&self) -> NewMemory {
        NewMemory {
            tags: self.tag.iter().map(|&tag| tag.to_owned()).collect(),
            embedding: Some(self.text.vector.clone()),
            ..NewMemory::new(self.text.content())
        }
    }
}

/// A question in words and as a vector.
pub(super) struct Question {
    pub(super) words: Vec<u32>,
    pub(super) vector: Vec<f32>,
}

impl Question {
    /// The words as a text.
    pub(super) fn text(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|rank| word(*rank)).collect();
        words.join(" ")
    }
}

/// Which memories are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slice {
    /// The name in tables: `user 1 %`.
    pub(super) name: &'static str,
    tenant: &'static str,
    user: Option<&'static str>,
    tag: Option<&'static str>,
}

const fn slice(
    name: &'static str,
    tenant: &'static str,
    user: Option<&'static str>,
    tag: Option<&'static str>,
) -> Slice {
    Slice { name, tenant, user, tag }
}

/// Everything of the big tenant first, then less and less.
pub(super) const SLICES: [Slice; 10] = [
    slice("100 %", TENANT, None, None),
    slice("tenant 10 %", "ten", None, None),
    slice("tenant 1 %", "one", None, None),
    slice("tenant 0.1 %", "tenth", None, None),
    slice("user 10 %", TENANT, Some("ten"), None),
    slice("user 1 %", TENANT, Some("one"), None),
    slice("user 0.1 %", TENANT, Some("tenth"), None),
    slice("tag 10 %", TENANT, None, Some("ten")),
    slice("tag 1 %", TENANT, None, Some("one")),
    slice("tag 0.1 %", TENANT, None, Some("tenth")),
];

impl Slice {
    /// Who asks.
    pub(super) fn scope(&self) -> Scope {
        let scope = Scope::tenant(self.tenant);
        self.user.map_or_else(|| scope.clone(), |user| scope.clone().user(user))
    }

    /// The tags asked for.
    pub(super) fn tags(&self) -> Vec<String> {
        self.tag.iter().map(|&tag| tag.to_owned()).collect()
    }

    /// Whether a memory is in it.
    pub(super) fn holds(&self, row: &Row) -> bool {
        row.tenant == self.tenant
            && self.user.is_none_or(|user| row.user == user)
            && (self.tag.is_none() || row.tag == self.tag)
    }

    /// Whether a memory counts for its words: document frequencies are a tenant's.
    pub(super) fn counts(&self, row: &Row) -> bool {
        row.tenant == self.tenant
    }
}

/// Everything of a run.
pub(super) struct Data {
    pub(super) rows: Vec<Row>,
    pub(super) questions: Vec<Question>,
}

/// One of a thousand, ten of a thousand, a hundred of a thousand, the rest.
fn share(lot: usize) -> Option<&'static str> {
    match lot {
        0 => Some("tenth"),
        1..=10 => Some("one"),
        11..=110 => Some("ten"),
        _ => None,
    }
}

impl Data {
    /// Draws memories and questions about those of the big tenant.
    pub(super) fn draw(seed: u64, size: usize, questions: usize) -> Self {
        let mut source = Source::new(seed);
        let rows: Vec<Row> = (0..size)
            .map(|n| {
                let text = source.text();
                let random = source.random();
                let tenant = share(random.below(1_000)).unwrap_or(TENANT);
                let user = share(random.below(1_000))
                    .map_or_else(|| format!("other{}", n % OTHERS), str::to_owned);
                Row { text, tenant, user, tag: share(random.below(1_000)) }
            })
            .collect();
        let common = Common::of(&rows);
        let mut asked = Vec::with_capacity(questions);
        while asked.len() < questions {
            let row = &rows[source.random().below(size)];
            if row.tenant == TENANT {
                asked.extend(question(&mut source, &row.text, &common));
            }
        }
        Self { rows, questions: asked }
    }
}

/// The words that at least a tenth of the memories hold.
struct Common(Vec<u32>);

impl Common {
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    fn of(rows: &[Row]) -> Self {
        let mut held: HashMap<u32, usize> = HashMap::new();
        for row in rows {
            let mut words = row.text.words.clone();
            words.sort_unstable();
            words.dedup();
            for word in words {
                *held.entry(word).or_default() += 1;
            }
        }
        let least = COMMON * rows.len() as f64;
        let mut common: Vec<u32> =
            held.into_iter().filter(|(_, n)| *n as f64 >= least).map(|(word, _)| word).collect();
        common.sort_unstable();
        Self(common)
    }
}

/// Three words of a memory that are not common, and in three of ten questions a common one more;
/// none about a memory that has fewer.
fn question(source: &mut Source, text: &Text, common: &Common) -> Option<Question> {
    let mut left: Vec<u32> =
        text.words.iter().copied().filter(|word| common.0.binary_search(word).is_err()).collect();
    left.sort_unstable();
    left.dedup();
    if left.len() < 3 || common.0.is_empty() {
        return None;
    }
    let mut words = Vec::new();
    for _ in 0..3 {
        let at = source.random().below(left.len());
        words.push(left.swap_remove(at));
    }
    if source.random().share() < WITH_COMMON {
        words.push(common.0[source.random().below(common.0.len())]);
    }
    let vector = source.near(&text.vector);
    Some(Question { words, vector })
}
