//! What `#[agent(…)]` and the attributes of its fields say.

use syn::{
    Attribute, DeriveInput, Field, Ident, LitStr, Path, Type, Visibility, ext::IdentExt as _,
};

use super::{kebab, named_fields, resource::Kind};
use crate::{
    attr::{self, Given, Pair},
    ctxt::Ctxt,
    paths, symbol,
};

/// A struct with `derive(Agent)`.
pub(crate) struct Agent<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) root: Path,
    pub(crate) purpose: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) expires: String,
    pub(crate) grace: Option<String>,
    /// What was written behind the keys of `#[agent(…)]`.
    pub(crate) written: Written,
    pub(crate) inputs: Vec<Input<'a>>,
    pub(crate) resources: Vec<Declaration<'a>>,
}

/// The literals of `#[agent(…)]`, with their places.
pub(crate) struct Written {
    pub(crate) name: Option<LitStr>,
    pub(crate) owner: Option<LitStr>,
    pub(crate) expires: Option<LitStr>,
    pub(crate) grace: Option<LitStr>,
}

/// A field that is a parameter.
pub(crate) struct Input<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) ty: &'a Type,
    pub(crate) doc: String,
    /// Whether instances are told apart by it.
    pub(crate) key: bool,
}

/// A field that is a resource.
pub(crate) struct Declaration<'a> {
    pub(crate) ident: &'a Ident,
    /// Its name without `r#`.
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
    pub(crate) doc: String,
    pub(crate) kind: Kind,
    /// The attribute's name, where it stands.
    pub(crate) attribute: &'a Path,
    pub(crate) pairs: Vec<Pair>,
}

/// What an attribute makes of a field.
#[derive(Clone, Copy)]
enum Role {
    Input,
    Resource(Kind),
}

impl<'a> Agent<'a> {
    /// Reads a struct; `None` when it has another shape.
    pub(crate) fn from_input(cx: &Ctxt, input: &'a DeriveInput) -> Option<Self> {
        let pairs = attr::known_pairs(cx, &input.attrs, symbol::AGENT, symbol::AGENT_KEYS);
        let root = paths::root(cx, &pairs);
        let pair = |key: &str| pairs.iter().find(|pair| pair.name() == key);
        for (key, example) in [(symbol::OWNER, "team:…"), (symbol::EXPIRES, "2027-06-30")] {
            if pair(key).is_none() {
                cx.error(
                    &input.ident,
                    format!("missing `{key}`; add `#[agent({key} = \"{example}\")]`"),
                );
            }
        }
        let literal = |key: &str| pair(key).and_then(|pair| attr::text(cx, pair));
        let written = Written {
            name: literal(symbol::NAME),
            owner: literal(symbol::OWNER),
            expires: literal(symbol::EXPIRES),
            grace: literal(symbol::GRACE),
        };
        let text = |literal: &Option<LitStr>| literal.as_ref().map(LitStr::value);

        let mut agent = Self {
            ident: &input.ident,
            vis: &input.vis,
            root,
            purpose: attr::doc(&input.attrs),
            name: text(&written.name).unwrap_or_else(|| kebab(&input.ident.unraw().to_string())),
            owner: text(&written.owner).unwrap_or_default(),
            expires: text(&written.expires).unwrap_or_default(),
            grace: text(&written.grace),
            written,
            inputs: Vec::new(),
            resources: Vec::new(),
        };
        for field in named_fields(cx, input, "an agent")? {
            agent.add(cx, field);
        }
        Some(agent)
    }

    fn add(&mut self, cx: &Ctxt, field: &'a Field) {
        let Some(ident) = &field.ident else { return };
        let doc = attr::doc(&field.attrs);
        match role(cx, ident, &field.attrs) {
            Some((attribute, Role::Resource(kind))) => self.resources.push(Declaration {
                ident,
                name: ident.unraw().to_string(),
                ty: &field.ty,
                doc,
                kind,
                attribute: attribute.path(),
                pairs: attr::without_repetitions(cx, attr::pairs(cx, attribute)),
            }),
            Some((attribute, Role::Input)) => {
                let attribute = std::slice::from_ref(attribute);
                let pairs = attr::known_pairs(cx, attribute, symbol::INPUT, symbol::INPUT_KEYS);
                for pair in &pairs {
                    attr::flag(cx, pair);
                }
                self.inputs.push(Input { ident, ty: &field.ty, doc, key: !pairs.is_empty() });
            }
            // Kept as a parameter, so that expressions that name it resolve.
            None => self.inputs.push(Input { ident, ty: &field.ty, doc, key: false }),
        }
    }
}

/// What the field is, and the attribute that says it.
fn role<'a>(
    cx: &Ctxt,
    ident: &Ident,
    attributes: &'a [Attribute],
) -> Option<(&'a Attribute, Role)> {
    let mut found: Option<(&Attribute, Role)> = None;
    for attribute in attributes {
        let Some(word) = attribute.path().get_ident().map(Ident::to_string) else { continue };
        let role = match Kind::from_name(&word) {
            Some(kind) => Role::Resource(kind),
            None if word == symbol::INPUT => Role::Input,
            None => continue,
        };
        if let Some((earlier, _)) = &found {
            let earlier = earlier.path().get_ident().map(Ident::to_string).unwrap_or_default();
            let repair = if earlier == word {
                format!("`{ident}` has `#[{word}]` already; put everything into one")
            } else {
                format!("`{ident}` is `#[{earlier}]` already; make `#[{word}]` a field of its own")
            };
            cx.error(attribute.path(), repair);
        } else {
            found = Some((attribute, role));
        }
    }
    if found.is_none() && !attributes.iter().any(is_misspelt) {
        let kinds: Vec<String> =
            symbol::KINDS.iter().map(|kind| format!("`#[{kind}(…)]`")).collect();
        cx.error(
            ident,
            format!("nothing says what `{ident}` is; add {} or `#[input]`", kinds.join(", ")),
        );
    }
    found
}

/// Whether rustc is going to report the attribute, with a name of ours.
fn is_misspelt(attribute: &Attribute) -> bool {
    let word = attribute.path().get_ident().map(Ident::to_string).unwrap_or_default();
    symbol::nearest(&word, symbol::KINDS).or(symbol::nearest(&word, &[symbol::INPUT])).is_some()
}

impl Declaration<'_> {
    /// The pair with that key.
    pub(crate) fn pair(&self, key: &str) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.name() == key)
    }

    /// The value behind the key, when it is a string literal.
    pub(crate) fn literal(&self, key: &str) -> Option<&LitStr> {
        match &self.pair(key)?.given {
            Given::Value(value) => attr::string_literal(value),
            Given::Bare | Given::Broken => None,
        }
    }
}
