//! The state of a simple agent, typed: what it has to do, its files, its notes, what it waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far something to do is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    /// Nobody began.
    #[default]
    Pending,
    /// Somebody is at it.
    InProgress,
    /// It is done.
    Completed,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TodoItem {
    /// What.
    pub content: String,
    /// How far it is.
    #[serde(default)]
    pub status: TodoStatus,
}

impl TodoItem {
    /// Something that nobody began.
    pub fn pending(content: impl Into<String>) -> Self {
        Self { content: content.into(), status: TodoStatus::Pending }
    }
}

/// The state of a simple agent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[doc(alias = "AgentStateSnapshot")]
pub struct AgentState {
    /// What it has to do.
    pub todos: Vec<TodoItem>,
    /// Its files by name.
    pub files: BTreeMap<String, String>,
    /// Its notes by name.
    pub scratchpad: BTreeMap<String, Value>,
    /// What it waits for a person to decide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_interrupts: Vec<Value>,
}

/// A change of an [`AgentState`]. What is absent stays; what is given replaces: an empty list
/// clears, and a file or note given as `None` is deleted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[doc(alias = "StateDiff")]
pub struct AgentStateChange {
    /// The whole list of what there is to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todos: Option<Vec<TodoItem>>,
    /// Files by name; `None` deletes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Option<String>>,
    /// Notes by name; `None` deletes one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scratchpad: BTreeMap<String, Option<Value>>,
    /// The whole list of what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_interrupts: Option<Vec<Value>>,
}

impl AgentState {
    /// The state after a change.
    ///
    /// ```
    /// use mnemon_core::checkpoints::state::{AgentState, AgentStateChange, TodoItem};
    ///
    /// let state = AgentState {
    ///     todos: vec![TodoItem::pending("book the train")],
    ///     files: [("plan.md".to_owned(), "Nepal".to_owned())].into(),
    ///     ..AgentState::default()
    /// };
    /// let change = AgentStateChange {
    ///     todos: Some(Vec::new()),
    ///     files: [("plan.md".to_owned(), None), ("log.md".to_owned(), Some("done".into()))].into(),
    ///     ..AgentStateChange::default()
    /// };
    ///
    /// let next = state.merge(change);
    /// assert!(next.todos.is_empty());
    /// assert_eq!(next.files.keys().collect::<Vec<_>>(), ["log.md"]);
    /// ```
    #[must_use]
    pub fn merge(mut self, change: AgentStateChange) -> Self {
        if let Some(todos) = change.todos {
            self.todos = todos;
        }
        merge_map(&mut self.files, change.files);
        merge_map(&mut self.scratchpad, change.scratchpad);
        if let Some(interrupts) = change.pending_interrupts {
            self.pending_interrupts = interrupts;
        }
        self
    }
}

fn merge_map<T>(map: &mut BTreeMap<String, T>, change: BTreeMap<String, Option<T>>) {
    for (name, value) in change {
        match value {
            Some(value) => drop(map.insert(name, value)),
            None => drop(map.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_change_does_not_name_stays() {
        let state = AgentState {
            todos: vec![TodoItem::pending("a")],
            files: [("f".to_owned(), "1".to_owned())].into(),
            scratchpad: [("n".to_owned(), json!(1))].into(),
            pending_interrupts: vec![json!({ "tool": "pay" })],
        };

        assert_eq!(state.clone().merge(AgentStateChange::default()), state);
    }

    #[test]
    fn the_state_of_deep_agents_is_read() {
        let json = json!({
            "todos": [{ "content": "a", "status": "in_progress" }],
            "files": { "f": "1" },
            "scratchpad": {}
        });

        let state: AgentState = serde_json::from_value(json.clone()).unwrap();

        assert_eq!(state.todos[0].status, TodoStatus::InProgress);
        assert_eq!(serde_json::to_value(state).unwrap(), json);
    }

    #[test]
    fn a_null_in_json_deletes() {
        let change: AgentStateChange =
            serde_json::from_value(json!({ "files": { "f": null } })).unwrap();

        assert_eq!(change.files["f"], None);
    }
}
