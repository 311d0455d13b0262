//! Values of properties, by their schema.

use std::collections::BTreeMap;

use toml::de::{DeInteger, DeTable, DeValue};

use super::{
    expression::Scope,
    reader::{Item, Reader, listed},
};
use crate::{
    address::quoted,
    diagnostic::{Code, nearest},
    resource::Node,
    schema::Type,
    value::{MAX_INT, Value},
};

impl Reader<'_> {
    /// The value of a property; the same node that the same value gives in
    /// Rust. What has another shape is reported where it stands.
    pub(super) fn property(
        &mut self,
        item: &Item<'_>,
        ty: &Type,
        scope: Scope<'_>,
    ) -> Option<Node> {
        match (ty, item.get_ref()) {
            (Type::Option(inner), _) => self.property(item, inner, scope),
            (Type::Bool, DeValue::Boolean(flag)) => Some(Node::Known(Value::Bool(*flag))),
            (Type::Int, DeValue::Integer(number)) => {
                let number = whole(number);
                if number.is_none() {
                    self.misshaped_number(item);
                }
                number.map(|number| Node::Known(Value::Int(number)))
            }
            (Type::Text, DeValue::String(_)) => self.expression(item, scope),
            (Type::Enum(words), DeValue::String(_)) => {
                let node = self.expression(item, scope)?;
                if let Node::Known(Value::Text(word)) = &node
                    && !words.contains(&word.as_str())
                {
                    let help = nearest(word, *words).map_or_else(
                        || format!("write one of {}", listed(*words)),
                        |near| format!("did you mean `{near}`?"),
                    );
                    let message = format!("{} is not one of its words", quoted(word));
                    self.error(Code::Property, item.span(), message, help);
                    return None;
                }
                Some(node)
            }
            (Type::List(inner) | Type::Set(inner), DeValue::Array(items)) => {
                let nodes: Vec<Option<Node>> =
                    items.iter().map(|item| self.property(item, inner, scope)).collect();
                Some(list(nodes.into_iter().collect::<Option<Vec<Node>>>()?))
            }
            (Type::Map(inner), DeValue::Table(table)) => self.map(table, inner, scope),
            (Type::Struct(fields), DeValue::Table(table)) => {
                self.structure(item, table, fields, scope)
            }
            (Type::Link(wanted), DeValue::String(_)) => {
                self.link(item, scope, Some(*wanted)).map(Node::Link)
            }
            (Type::Link(_), DeValue::Table(table)) => self.not_ours(item, table, scope),
            (ty, _) => {
                self.misshaped(item, &expected(ty), &form(ty));
                None
            }
        }
    }

    fn misshaped_number(&mut self, item: &Item<'_>) {
        self.error(
            Code::Property,
            item.span(),
            "the number is not within ±(2^53 - 1)",
            "more than that cannot be written down exactly",
        );
    }

    fn map(&mut self, table: &DeTable<'_>, inner: &Type, scope: Scope<'_>) -> Option<Node> {
        let mut entries = BTreeMap::new();
        let mut sound = true;
        for (key, item) in table {
            let node = self.property(item, inner, scope);
            let unforged = self.unforged(key.get_ref(), key.span());
            match node {
                Some(node) if unforged => {
                    entries.insert(key.get_ref().to_string(), node);
                }
                _ => sound = false,
            }
        }
        sound.then(|| Node::map(entries))
    }

    fn structure(
        &mut self,
        item: &Item<'_>,
        table: &DeTable<'_>,
        fields: &[(&'static str, Type)],
        scope: Scope<'_>,
    ) -> Option<Node> {
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let mut sound = table.keys().all(|key| names.contains(&key.get_ref().as_ref()));
        self.unknown_keys(table, &names, "it");
        let mut entries = BTreeMap::new();
        for (name, ty) in fields {
            let node = match (table.get(*name), ty) {
                (Some(item), ty) => self.property(item, ty, scope),
                (None, Type::Option(_)) => Some(Node::Known(Value::Null)),
                (None, _) => {
                    self.missing(
                        Code::Property,
                        item.span(),
                        format!("missing key `{name}`"),
                        format!("it takes {}", listed(&names)),
                    );
                    None
                }
            };
            match node {
                Some(node) => {
                    entries.insert((*name).to_owned(), node);
                }
                None => sound = false,
            }
        }
        sound.then(|| Node::map(entries))
    }

    /// `{ id = "…" }`: an object of the system that no fleet manages.
    fn not_ours(&mut self, item: &Item<'_>, table: &DeTable<'_>, scope: Scope<'_>) -> Option<Node> {
        self.unknown_keys(table, &["id"], "what is not ours");
        let Some(id) = table.get("id") else {
            self.missing(
                Code::Property,
                item.span(),
                "missing key `id`",
                "write `{ id = \"…\" }` for what is not ours, or the bare name of a resource",
            );
            return None;
        };
        let known = self.plain(id, scope, "the id")?;
        (table.len() == 1).then_some(Node::Known(Value::Text(known)))
    }
}

/// Items as one node; known when all of them are.
fn list(nodes: Vec<Node>) -> Node {
    if nodes.iter().all(|node| matches!(node, Node::Known(_))) {
        Node::Known(nodes.iter().filter_map(Node::known).collect())
    } else {
        Node::List(nodes)
    }
}

/// The number, when it is one that can be written down.
pub(super) fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|number| (-MAX_INT..=MAX_INT).contains(number))
}

/// The shape of a type, in words.
fn expected(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".into(),
        Type::Int => "a whole number".into(),
        Type::Text => "text".into(),
        Type::Enum(words) => format!("one of {}", listed(*words)),
        Type::List(inner) | Type::Set(inner) => match **inner {
            Type::Text => "a list of text".into(),
            _ => "a list".into(),
        },
        Type::Map(_) => "a table".into(),
        Type::Struct(fields) => {
            format!("a table of {}", listed(fields.iter().map(|(name, _)| *name)))
        }
        Type::Option(inner) => expected(inner),
        Type::Link(name) => format!("the name of a `{name}`"),
    }
}

/// A value of a type, as one writes it: without the keys that may be left out.
fn form(ty: &Type) -> String {
    match ty {
        Type::Bool => "true".into(),
        Type::Int => "1".into(),
        Type::Text | Type::Link(_) => "\"…\"".into(),
        Type::Enum(words) => words.first().map_or_else(String::new, |word| format!("\"{word}\"")),
        Type::List(inner) | Type::Set(inner) => format!("[{}]", form(inner)),
        Type::Map(inner) => format!("{{ … = {} }}", form(inner)),
        Type::Struct(fields) => {
            let needed: Vec<String> = fields
                .iter()
                .filter(|(_, ty)| !matches!(ty, Type::Option(_)))
                .map(|(name, ty)| format!("{name} = {}", form(ty)))
                .collect();
            format!("{{ {} }}", needed.join(", "))
        }
        Type::Option(inner) => form(inner),
    }
}
