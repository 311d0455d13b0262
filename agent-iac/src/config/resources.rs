//! One resource of an agent.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::{
    expression::Scope,
    reader::{Item, Key, Reader, Span, listed},
};
use crate::{
    address::quoted,
    agent::{Declared, OnDrift, Terms, Written},
    consumer::Consumer,
    diagnostic::{Code, nearest},
    resource::Node,
    schema::{Kind, ResourceType},
    value::Value,
};

/// The keys that say what a resource is.
pub(super) const KINDS: [&str; 4] = ["identity", "permission", "credential", "runtime"];

/// The keys that belong to the engine.
pub(super) const ENGINE_KEYS: [&str; 6] =
    ["provider", "depends_on", "protect", "on_drift", "ignore", "because"];

/// Those of a credential.
pub(super) const CREDENTIAL_KEYS: [&str; 12] = [
    "rotate",
    "overlap",
    "window",
    "blackouts",
    "zone",
    "jitter",
    "retry",
    "lease",
    "group",
    "deliver",
    "consumers",
    "at_deadline",
];

/// The words of `on_drift`.
pub(super) const ON_DRIFT: [&str; 2] = ["report", "revert_widening"];

impl Reader<'_> {
    /// Reads a resource; `None` when nobody can say of which type it is.
    pub(super) fn resource(
        &mut self,
        field: &Key<'_>,
        table: &DeTable<'_>,
        scope: Scope<'_>,
    ) -> Option<Declared> {
        let (kind_key, ty) = self.type_of(field, table)?;
        let mut declared = Declared {
            field: field.get_ref().to_string(),
            resource_type: ty,
            properties: std::collections::BTreeMap::new(),
            terms: Terms::default(),
            source: self.place(field.span()),
            written: Written::default(),
        };
        declared.written.put(kind_key, self.place(field.span()));
        for (key, item) in table {
            let name = key.get_ref().as_ref();
            if name == kind_key {
                continue;
            }
            declared.written.put(name, self.place(item.span()));
            let read = match ty.field(name) {
                Some(field) => match self.property(item, &field.ty, scope) {
                    Some(node) => {
                        declared.properties.insert(name.to_owned(), node);
                        true
                    }
                    None => false,
                },
                None if ENGINE_KEYS.contains(&name) || CREDENTIAL_KEYS.contains(&name) => {
                    self.engine_key(key, item, ty, &mut declared.terms, scope).is_some()
                }
                None => {
                    if let Some(near) = self.no_such_key(key, ty) {
                        declared.written.refuse(near);
                    }
                    false
                }
            };
            if !read {
                declared.written.refuse(name);
            }
        }
        for field in ty.fields {
            let given = declared.properties.contains_key(field.name)
                || declared.written.is_refused(field.name);
            if let Some(default) = field.default
                && !given
            {
                declared.properties.insert(field.name.to_owned(), Node::Known(default()));
            }
        }
        self.explained(table, &declared);
        Some(declared)
    }

    /// What the resource is: the key that says it, and the type.
    fn type_of(
        &mut self,
        field: &Key<'_>,
        table: &DeTable<'_>,
    ) -> Option<(&'static str, &'static ResourceType)> {
        let mut said =
            KINDS.into_iter().filter_map(|kind| Some((kind, table.get_key_value(kind)?)));
        let Some((kind, (key, item))) = said.next() else {
            let near = table.keys().find_map(|key| Some((key, nearest(key.get_ref(), KINDS)?)));
            match near {
                Some((key, near)) => self.error(
                    Code::UnknownKey,
                    key.span(),
                    format!("unknown key {}", quoted(key.get_ref())),
                    format!("did you mean `{near}`?"),
                ),
                None => self.missing(
                    Code::UnknownType,
                    field.span(),
                    format!("nothing says what {} is", quoted(field.get_ref())),
                    format!(
                        "add one of {} with a type, as `identity = \"authority.account\"`",
                        listed(KINDS)
                    ),
                ),
            }
            return None;
        };
        let second = said.next().map(|(other, (key, _))| (other, key.span()));
        if let Some((other, span)) = second {
            self.error(
                Code::UnknownType,
                span,
                format!("{} is a {kind} already", quoted(field.get_ref())),
                format!("make the {other} a resource of its own"),
            );
        }
        let name = self.text(item)?;
        let Some(ty) = self.types.get(name) else {
            let known = || self.types.iter().map(|ty| ty.name);
            let help = nearest(name, known()).map_or_else(
                || format!("there are {}", listed(known())),
                |near| format!("did you mean `{near}`?"),
            );
            self.error(
                Code::UnknownType,
                item.span(),
                format!("unknown type {}", quoted(name)),
                help,
            );
            return None;
        };
        if ty.kind.name() != kind {
            self.error(
                Code::UnknownType,
                key.span(),
                format!("`{}` is of the kind `{}`", ty.name, ty.kind),
                format!("write `{} = \"{}\"`", ty.kind, ty.name),
            );
        }
        Some((kind, ty))
    }

    /// Reports a key that the type does not take; gives the one that was meant.
    fn no_such_key(&mut self, key: &Key<'_>, ty: &ResourceType) -> Option<String> {
        let name = key.get_ref().as_ref();
        // A second kind was reported already.
        if KINDS.contains(&name) {
            return None;
        }
        if ty.output(name).is_some() {
            self.error(
                Code::UnknownKey,
                key.span(),
                format!("`{name}` is known only after apply"),
                "remove it",
            );
            return None;
        }
        let mut known: Vec<&str> = ty.fields.iter().map(|field| field.name).collect();
        known.extend(ENGINE_KEYS);
        if ty.kind == Kind::Credential {
            known.extend(CREDENTIAL_KEYS);
        }
        self.unknown_key(key, &known, &format!("a `{}`", ty.name))
    }

    /// A key that belongs to the engine; `None` when it was refused.
    fn engine_key(
        &mut self,
        key: &Key<'_>,
        item: &Item<'_>,
        ty: &ResourceType,
        terms: &mut Terms,
        scope: Scope<'_>,
    ) -> Option<()> {
        let name = key.get_ref().as_ref();
        if CREDENTIAL_KEYS.contains(&name) && ty.kind != Kind::Credential {
            self.error(
                Code::UnknownKey,
                key.span(),
                format!("only a credential takes `{name}`"),
                "remove it",
            );
            return None;
        }
        let what = format!("`{name}`");
        match name {
            "provider" => terms.provider(self.shown(item, scope, &what)?),
            "depends_on" => {
                let items = match item.get_ref() {
                    DeValue::String(_) => vec![item],
                    _ => self.list(item, "a list of names of resources")?,
                };
                let found: Vec<_> =
                    items.into_iter().map(|item| self.link(item, scope, None)).collect();
                terms.depends_on.extend(found.into_iter().collect::<Option<BTreeSet<_>>>()?);
            }
            "protect" => {
                let DeValue::Boolean(protect) = item.get_ref() else {
                    self.misshaped(item, "true or false", "true");
                    return None;
                };
                terms.protect(*protect);
            }
            "on_drift" => terms.on_drift(self.on_drift(item)?),
            "ignore" => terms.ignore(self.names(item, scope, &what)?),
            "because" => {
                let why = self.shown(item, scope, &what)?;
                if why.trim().is_empty() {
                    self.error(Code::Wildcard, item.span(), "`because` is empty", "say why");
                    return None;
                }
                terms.because(why);
            }
            "rotate" => terms.rotate(self.shown(item, scope, &what)?),
            "overlap" => terms.overlap(self.shown(item, scope, &what)?),
            "window" => terms.window(self.shown(item, scope, &what)?),
            "blackouts" => terms.blackouts(self.names(item, scope, &what)?),
            "zone" => terms.zone(self.shown(item, scope, &what)?),
            "jitter" => terms.jitter(self.shown(item, scope, &what)?),
            "retry" => terms.retry(self.shown(item, scope, &what)?),
            "lease" => terms.lease(self.shown(item, scope, &what)?),
            "group" => terms.group(self.shown(item, scope, &what)?),
            "deliver" => terms.deliver(self.shown(item, scope, &what)?),
            "consumers" => terms.consumers(self.consumers(item, scope)?),
            "at_deadline" => terms.at_deadline(self.shown(item, scope, &what)?),
            _ => unreachable!("the caller gives the engine's keys only"),
        }
        Some(())
    }

    /// Text that is known now and can be shown.
    pub(super) fn shown(
        &mut self,
        item: &Item<'_>,
        scope: Scope<'_>,
        what: &str,
    ) -> Option<String> {
        let text = self.plain(item, scope, what)?;
        self.printable(&text, item.span()).then_some(text)
    }

    fn names(&mut self, item: &Item<'_>, scope: Scope<'_>, what: &str) -> Option<Vec<String>> {
        let items = self.list(item, "a list of text")?;
        let names: Vec<Option<String>> =
            items.into_iter().map(|item| self.shown(item, scope, what)).collect();
        names.into_iter().collect()
    }

    /// Each is read here too, so that a mistake is told where it stands in the
    /// list and not where the list begins.
    fn consumers(&mut self, item: &Item<'_>, scope: Scope<'_>) -> Option<Vec<String>> {
        let mut sound = Vec::new();
        let items = self.list(item, "a list of text")?;
        let count = items.len();
        for item in items {
            let Some(text) = self.shown(item, scope, "`consumers`") else { continue };
            match text.parse::<Consumer>() {
                Ok(_) => sound.push(text),
                Err(error) => {
                    let help = error.repair().unwrap_or_default().to_owned();
                    self.error(Code::Consumer, item.span(), error.message().to_owned(), help);
                }
            }
        }
        (sound.len() == count).then_some(sound)
    }

    fn on_drift(&mut self, item: &Item<'_>) -> Option<OnDrift> {
        match self.text(item)? {
            "report" => Some(OnDrift::Report),
            "revert_widening" => Some(OnDrift::RevertWidening),
            other => {
                let help = nearest(other, ON_DRIFT).map_or_else(
                    || format!("write one of {}", listed(ON_DRIFT)),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("{} is no policy for drift", quoted(other));
                self.error(Code::Property, item.span(), message, help);
                None
            }
        }
    }

    /// A pattern that reaches everything is rarely meant, and the one who
    /// reviews it must be able to read why. One `because` mends all of them.
    fn explained(&mut self, table: &DeTable<'_>, declared: &Declared) {
        let said = declared.terms.because.is_some() || declared.written.is_refused("because");
        if declared.resource_type.kind != Kind::Permission || said {
            return;
        }
        let wide = declared
            .properties
            .iter()
            .filter(|(_, node)| is_wide(node))
            .filter_map(|(name, _)| Some((table.get(name.as_str())?.span(), name)))
            .min_by_key(|(span, _): &(Span, &String)| span.start);
        if let Some((span, name)) = wide {
            let message = format!("`{name}` reaches more than can be seen");
            self.error(Code::Wildcard, span, message, "add `because = \"…\"` to say why");
        }
    }
}

/// Whether some text in it ends in a star.
fn is_wide(node: &Node) -> bool {
    fn in_value(value: &Value) -> bool {
        match value {
            Value::Text(text) => text.ends_with('*'),
            Value::List(items) => items.iter().any(in_value),
            Value::Map(entries) => entries.values().any(in_value),
            Value::Null | Value::Bool(_) | Value::Int(_) => false,
        }
    }
    match node {
        Node::Known(value) => in_value(value),
        Node::Concat(parts) => parts.last().is_some_and(is_wide),
        Node::List(items) => items.iter().any(is_wide),
        Node::Map(entries) => entries.values().any(is_wide),
        Node::Output { .. } | Node::Link(_) => false,
    }
}
