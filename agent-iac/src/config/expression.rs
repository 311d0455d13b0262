//! `${…}` in text, and the names of other resources.

use super::reader::{Item, Reader, Span, listed};
use crate::{
    address::{self, Address, Instance, quoted},
    diagnostic::{Code, nearest},
    resource::Node,
    schema::ResourceType,
    value::Value,
};

/// What names mean within one instance of an agent.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    /// The agent's name.
    pub(super) agent: &'s str,
    /// The instance that is being read.
    pub(super) instance: &'s Instance,
    /// Its parameters and their values.
    pub(super) inputs: &'s [(String, String)],
    /// Whether these are all of them: not, where `for` could not be read.
    pub(super) complete: bool,
}

/// A resource that a text names: its address, and its type where this text
/// says one.
struct Target {
    address: Address,
    ty: Option<&'static ResourceType>,
}

/// `name["key"].rest.rest`.
struct Path<'p> {
    name: &'p str,
    key: Option<Vec<String>>,
    rest: Vec<&'p str>,
}

impl<'p> Path<'p> {
    fn parse(text: &'p str) -> Option<Self> {
        let (name, key, rest) = address::split(text)?;
        let keyed = text.get(name.len()..)?.starts_with('[');
        let rest: Vec<&str> = match rest.strip_prefix('.') {
            Some(rest) => rest.split('.').collect(),
            None if rest.is_empty() => Vec::new(),
            None => return None,
        };
        let sound = !name.is_empty() && rest.iter().all(|part| !part.is_empty());
        sound.then(|| Self { name, key: keyed.then_some(key), rest })
    }
}

impl Reader<'_> {
    /// Text with its parameters put in and its references found; the same node
    /// that `format!` with outputs gives in Rust.
    pub(super) fn expression(&mut self, item: &Item<'_>, scope: Scope<'_>) -> Option<Node> {
        let text = self.text(item)?;
        self.parts(text, &item.span(), scope)
    }

    /// Text that is known before anything exists.
    pub(super) fn plain(
        &mut self,
        item: &Item<'_>,
        scope: Scope<'_>,
        what: &str,
    ) -> Option<String> {
        let node = self.expression(item, scope)?;
        self.known(node, item.span(), what)
    }

    fn known(&mut self, node: Node, span: Span, what: &str) -> Option<String> {
        if let Node::Known(Value::Text(text)) = node {
            return Some(text);
        }
        self.error(
            Code::Expression,
            span,
            format!("{what} may not depend on what is known only after apply"),
            "use text and values of `for` only",
        );
        None
    }

    fn parts(&mut self, text: &str, span: &Span, scope: Scope<'_>) -> Option<Node> {
        let mut parts = Vec::new();
        let mut known = String::new();
        let mut rest = text;
        let mut sound = true;
        while let Some((before, after)) = rest.split_once('$') {
            known.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                known.push('$');
                rest = after;
                continue;
            }
            let Some(inner) = after.strip_prefix('{') else {
                self.error(
                    Code::Expression,
                    span.clone(),
                    "a dollar stands alone",
                    "write `$$` for a dollar, or `${name}` for a value",
                );
                sound = false;
                rest = after;
                continue;
            };
            let Some(end) = closing(inner) else {
                self.error(
                    Code::Expression,
                    span.clone(),
                    format!("{} is not closed", quoted(&format!("${{{inner}"))),
                    "add the closing brace, or write `$$` for a dollar",
                );
                return None;
            };
            match self.value(&inner[..end], span, scope) {
                Some(Node::Known(Value::Text(text))) => known.push_str(&text),
                Some(node) => {
                    if !known.is_empty() {
                        parts.push(Node::Known(Value::Text(std::mem::take(&mut known))));
                    }
                    parts.push(node);
                }
                None => sound = false,
            }
            rest = &inner[end + 1..];
        }
        known.push_str(rest);
        if !known.is_empty() || parts.is_empty() {
            parts.push(Node::Known(Value::Text(known)));
        }
        sound.then(|| if parts.len() == 1 { parts.remove(0) } else { Node::Concat(parts) })
    }

    /// What stands between the braces.
    fn value(&mut self, inner: &str, span: &Span, scope: Scope<'_>) -> Option<Node> {
        let Some(path) = Path::parse(inner) else {
            self.error(
                Code::Expression,
                span.clone(),
                format!("{} names nothing", quoted(&format!("${{{inner}}}"))),
                "write `${input}`, `${field.output}` or `${agent[\"key\"].field.output}`",
            );
            return None;
        };
        let (target, output) = match (&path.key, path.rest.as_slice()) {
            (None, []) => return self.input(path.name, span, scope),
            (None, [output]) => (self.sibling(path.name, span, scope)?, *output),
            (_, [field, output]) => {
                (self.foreign(path.name, path.key, field, span, scope)?, *output)
            }
            _ => {
                self.error(
                    Code::Expression,
                    span.clone(),
                    format!("{} names no value", quoted(&format!("${{{inner}}}"))),
                    "name a resource and one of its outputs: `${agent[\"key\"].field.output}`",
                );
                return None;
            }
        };
        if let Some(ty) = target.ty
            && ty.output(output).is_none()
        {
            let names = || ty.outputs.iter().map(|output| output.name);
            let help = match nearest(output, names()) {
                _ if ty.field(output).is_some() => {
                    format!("`{output}` is a property; the outputs are {}", listed(names()))
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its outputs are {}", listed(names())),
            };
            self.error(
                Code::DanglingReference,
                span.clone(),
                format!("a `{}` has no output {}", ty.name, quoted(output)),
                help,
            );
            return None;
        }
        Some(Node::Output { address: target.address, field: output.to_owned() })
    }

    fn input(&mut self, name: &str, span: &Span, scope: Scope<'_>) -> Option<Node> {
        if let Some((_, value)) = scope.inputs.iter().find(|(input, _)| input == name) {
            return Some(Node::Known(Value::from(value.as_str())));
        }
        if !scope.complete {
            return None;
        }
        let names = || scope.inputs.iter().map(|(name, _)| name);
        let field = self.index.agent(scope.agent).is_some_and(|a| a.resources.contains_key(name));
        let help = match nearest(name, names()) {
            _ if field => format!("give one of its outputs, as `${{{name}.id}}`"),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`for` of this agent has {}", listed(names())),
        };
        self.missing(
            Code::Expression,
            span.clone(),
            format!("{} names no value", quoted(&format!("${{{name}}}"))),
            help,
        );
        None
    }

    /// Another resource, where a property wants one.
    pub(super) fn link(
        &mut self,
        item: &Item<'_>,
        scope: Scope<'_>,
        wanted: Option<&str>,
    ) -> Option<Address> {
        let text = self.text(item)?;
        let span = item.span();
        let path = Path::parse(text).filter(|path| !path.name.contains(['$', '{']));
        let target = match path {
            Some(Path { name, key: None, rest }) if rest.is_empty() => {
                self.sibling(name, &span, scope)?
            }
            Some(Path { name, key, rest }) if rest.len() == 1 => {
                self.foreign(name, key, rest[0], &span, scope)?
            }
            _ => {
                self.error(
                    Code::DanglingReference,
                    span,
                    format!("{} names no resource", quoted(text)),
                    "write its bare name, `field` or `agent[\"key\"].field`",
                );
                return None;
            }
        };
        if let (Some(wanted), Some(ty)) = (wanted, target.ty)
            && wanted != ty.name
        {
            self.error(
                Code::DanglingReference,
                span,
                format!("{} is a `{}`", quoted(text), ty.name),
                format!("refer to a `{wanted}`"),
            );
            return None;
        }
        Some(target.address)
    }

    fn sibling(&mut self, field: &str, span: &Span, scope: Scope<'_>) -> Option<Target> {
        let address = scope.instance.resource(field).ok()?;
        self.target(scope.agent, field, address, span)
    }

    fn foreign(
        &mut self,
        agent: &str,
        key: Option<Vec<String>>,
        field: &str,
        span: &Span,
        scope: Scope<'_>,
    ) -> Option<Target> {
        let mut values = Vec::new();
        for part in key.unwrap_or_default() {
            let node = self.parts(&part, span, scope)?;
            values.push(self.known(node, span.clone(), "a key")?);
        }
        let named = Instance::keyed(agent, &values)
            .and_then(|instance| Ok((instance.resource(field)?, instance)));
        let (address, instance) = match named {
            Ok(named) => named,
            Err(error) => {
                let help = error.repair().unwrap_or_default().to_owned();
                self.error(Code::DanglingReference, span.clone(), error.message().to_owned(), help);
                return None;
            }
        };
        let Some(entry) = self.index.agent(agent) else {
            // An agent in Rust may have that name; the blueprint sees both.
            return Some(Target { address, ty: None });
        };
        let keys = entry.keys.as_ref()?;
        if !keys.contains(&values) {
            let shown: Vec<String> = keys
                .iter()
                .take(8)
                .filter_map(|key| Instance::keyed(agent, key).ok())
                .map(|instance| instance.to_string())
                .collect();
            let help = nearest(&instance.to_string(), &shown).map_or_else(
                || format!("there is {}", listed(&shown)),
                |near| format!("did you mean `{near}`?"),
            );
            self.missing(
                Code::DanglingReference,
                span.clone(),
                format!("there is no instance {}", quoted(&instance.to_string())),
                help,
            );
            return None;
        }
        self.target(agent, field, address, span)
    }

    /// A resource of an agent of this text; reported when there is no such.
    fn target(
        &mut self,
        agent: &str,
        field: &str,
        address: Address,
        span: &Span,
    ) -> Option<Target> {
        let resources = self.index.agent(agent).map(|entry| &entry.resources);
        let Some(ty) = resources.and_then(|resources| resources.get(field)) else {
            let names: Vec<&String> = resources.into_iter().flat_map(|r| r.keys()).collect();
            let help = match nearest(field, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.index.names().any(|name| name == field) => {
                    format!("name one of its resources, as `{field}.account`")
                }
                None => format!("`{agent}` has {}", listed(&names)),
            };
            self.missing(
                Code::DanglingReference,
                span.clone(),
                format!("`{agent}` has no resource {}", quoted(field)),
                help,
            );
            return None;
        };
        let ty = ty.as_ref().and_then(|name| self.types.get(name));
        Some(Target { address, ty })
    }
}

/// Where the brace stands that closes what was opened before `text`; one
/// between quotation marks is part of a key.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => {
                chars.next();
            }
            '}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}
