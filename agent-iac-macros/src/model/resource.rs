//! What `#[resource(…)]` says.

use syn::{DeriveInput, Field, Ident, LitStr, Path, Type, Visibility, ext::IdentExt as _};

use super::{last_name, named_fields};
use crate::{
    attr::{self, Pair},
    ctxt::Ctxt,
    paths, symbol,
};

/// A struct with `derive(Resource)`.
pub(crate) struct Resource<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) root: Path,
    pub(crate) doc: String,
    /// `provider.type`.
    pub(crate) name: Option<LitStr>,
    pub(crate) kind: Option<Kind>,
    /// Whether the type finds mistakes in its properties itself.
    pub(crate) check: bool,
    /// Whether the type says which access it gives.
    pub(crate) access: bool,
    pub(crate) fields: Vec<ResourceField<'a>>,
}

/// What the resource is to its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identity,
    Permission,
    Credential,
    Runtime,
}

/// One field.
pub(crate) struct ResourceField<'a> {
    pub(crate) ident: &'a Ident,
    /// Its name without `r#`.
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
    pub(crate) doc: String,
    pub(crate) role: Role,
}

/// What a field is.
pub(crate) enum Role {
    /// A declared property.
    Property(Declared),
    /// A value that is known only once the resource exists.
    Output,
}

/// How a property behaves.
pub(crate) struct Declared {
    pub(crate) key: bool,
    pub(crate) replace: bool,
    pub(crate) presence: Presence,
}

/// Whether a declaration must give a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Required,
    /// It is `None` when left out.
    Optional,
    /// It has its type's default when left out.
    Default,
}

impl Kind {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Self::Identity),
            "permission" => Some(Self::Permission),
            "credential" => Some(Self::Credential),
            "runtime" => Some(Self::Runtime),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Permission => "permission",
            Self::Credential => "credential",
            Self::Runtime => "runtime",
        }
    }

    /// The link that says whose a resource of this kind is.
    pub(crate) fn link(self) -> Option<&'static str> {
        match self {
            Self::Permission => Some(symbol::TO),
            Self::Credential => Some(symbol::OF),
            Self::Identity | Self::Runtime => None,
        }
    }

    /// Whether a resource of this kind must have its link: a permission may be
    /// about what everybody has.
    pub(crate) fn needs_its_link(self) -> bool {
        self == Self::Credential
    }
}

impl<'a> Resource<'a> {
    /// Reads a struct; `None` when it has another shape.
    pub(crate) fn from_input(cx: &Ctxt, input: &'a DeriveInput) -> Option<Self> {
        let pairs = attr::known_pairs(cx, &input.attrs, symbol::RESOURCE, symbol::RESOURCE_KEYS);
        let root = paths::root(cx, &pairs);
        let pair = |key: &str| pairs.iter().find(|pair| pair.name() == key);
        for (key, example) in [(symbol::TYPE, "provider.type"), (symbol::KIND, "identity")] {
            if pair(key).is_none() {
                cx.error(
                    &input.ident,
                    format!("missing `{key}`; add `#[resource({key} = \"{example}\")]`"),
                );
            }
        }
        let text = |key: &str| pair(key).and_then(|pair| attr::text(cx, pair));
        let name = text(symbol::TYPE).filter(|name| is_type_name(cx, name));
        let kind = text(symbol::KIND).and_then(|word| kind_of(cx, &word));
        for key in [symbol::CHECK, symbol::ACCESS] {
            if let Some(pair) = pair(key) {
                attr::flag(cx, pair);
            }
        }
        if let (Some(access), Some(Kind::Permission)) = (pair(symbol::ACCESS), kind) {
            cx.error(&access.key, "a permission gives access as it is; remove `access`");
        }
        let check = pair(symbol::CHECK).is_some();
        let access = pair(symbol::ACCESS).is_some() || kind == Some(Kind::Permission);

        let fields = named_fields(cx, input, "a resource")?
            .into_iter()
            .filter_map(|field| ResourceField::from_field(cx, field))
            .collect();
        let doc = attr::doc(&input.attrs);
        Some(Self {
            ident: &input.ident,
            vis: &input.vis,
            root,
            doc,
            name,
            kind,
            check,
            access,
            fields,
        })
    }
}

fn is_type_name(cx: &Ctxt, name: &LitStr) -> bool {
    let text = name.value();
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let good = text.split_once('.').is_some_and(|(provider, ty)| word(provider) && word(ty));
    if !good {
        cx.error(name, "a type is named `provider.type`, each a word of a-z, 0-9 and underscores");
    }
    good
}

fn kind_of(cx: &Ctxt, word: &LitStr) -> Option<Kind> {
    let text = word.value();
    let kind = Kind::from_name(&text);
    if kind.is_none() {
        let repair = match symbol::nearest(&text, symbol::KINDS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", attr::listed(symbol::KINDS)),
        };
        cx.error(word, format!("unknown kind `{text}`; {repair}"));
    }
    kind
}

impl<'a> ResourceField<'a> {
    fn from_field(cx: &Ctxt, field: &'a Field) -> Option<Self> {
        let ident = field.ident.as_ref()?;
        let pairs =
            attr::known_pairs(cx, &field.attrs, symbol::RESOURCE, symbol::RESOURCE_FIELD_KEYS);
        for pair in &pairs {
            attr::flag(cx, pair);
        }
        Some(Self {
            ident,
            name: ident.unraw().to_string(),
            ty: &field.ty,
            doc: attr::doc(&field.attrs),
            role: role(cx, &pairs, &field.ty),
        })
    }

    /// The property, when it is one.
    pub(crate) fn declared(&self) -> Option<&Declared> {
        match &self.role {
            Role::Property(declared) => Some(declared),
            Role::Output => None,
        }
    }
}

fn role(cx: &Ctxt, pairs: &[Pair], ty: &Type) -> Role {
    let pair = |key: &str| pairs.iter().find(|pair| pair.name() == key);
    if pair(symbol::OUTPUT).is_some() {
        for pair in pairs.iter().filter(|pair| pair.name() != symbol::OUTPUT) {
            cx.error(
                &pair.key,
                format!("an output is never declared, so it is no `{}`; remove one", pair.name()),
            );
        }
        return Role::Output;
    }
    let key = pair(symbol::KEY).is_some();
    if let (Some(_), Some(update)) = (pair(symbol::REPLACE), pair(symbol::UPDATE)) {
        cx.error(&update.key, "`update` contradicts `replace`; remove one");
    }
    let optional = last_name(ty).is_some_and(|name| name == "Option");
    let default = pair(symbol::DEFAULT);
    if let (Some(default), true) = (default, optional) {
        cx.error(&default.key, "an `Option` may be left out as it is; remove `default`");
    }
    Role::Property(Declared {
        key,
        replace: pair(symbol::REPLACE).is_some() || key && pair(symbol::UPDATE).is_none(),
        presence: match default {
            _ if optional => Presence::Optional,
            Some(_) => Presence::Default,
            None => Presence::Required,
        },
    })
}
