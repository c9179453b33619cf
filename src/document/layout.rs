use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Step;
use super::{Key, Lines};

/// Where in a text each line and each key begins: read once, however many places are asked for.
pub(super) struct Layout {
    root: Node,
    pub(super) lines: Lines,
}

struct Node {
    begins: usize,
    inner: Inner,
}

enum Inner {
    Table(HashMap<Box<str>, Node>),
    List(Vec<Node>),
    Value,
}

impl Layout {
    pub(super) fn of(text: &str) -> Self {
        let root = match DeTable::parse(text) {
            Ok(table) => Node::of(&Spanned::new(0..0, DeValue::Table(table.into_inner()))),
            Err(_) => Node {
                begins: 0,
                inner: Inner::Value,
            },
        };
        Self {
            root,
            lines: Lines::of(text),
        }
    }

    /// How much of the key is there, and where that begins.
    pub(super) fn locate(&self, key: &Key) -> (Key, usize) {
        let mut at = &self.root;
        let mut found = Key::default();
        for step in key.steps() {
            let next = match (step, &at.inner) {
                (Step::Name(name), Inner::Table(table)) => table.get(&**name),
                (Step::Index(index), Inner::List(list)) => list.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            found.push(step.clone());
            at = next;
        }
        (found, at.begins)
    }
}

impl Node {
    fn of(value: &Spanned<DeValue<'_>>) -> Self {
        let inner = match value.get_ref() {
            DeValue::Table(table) => {
                let named = table.iter();
                let named = named.map(|(name, value)| ((**name.get_ref()).into(), Self::of(value)));
                Inner::Table(named.collect())
            }
            DeValue::Array(list) => Inner::List(list.iter().map(Self::of).collect()),
            _ => Inner::Value,
        };
        Self {
            begins: value.span().start,
            inner,
        }
    }
}
