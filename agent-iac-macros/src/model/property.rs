//! What `#[property(…)]` says.

use syn::{Data, DeriveInput, Fields, Ident, LitStr, Path, Type, ext::IdentExt as _};

use super::{kebab, without_parameters};
use crate::{attr, ctxt::Ctxt, paths, symbol};

/// A type with `derive(Property)`.
pub(crate) struct Property<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) root: Path,
    pub(crate) shape: Shape<'a>,
}

/// The forms that a property type may have.
pub(crate) enum Shape<'a> {
    /// Named fields: a map.
    Struct(Vec<Item<'a>>),
    /// One unnamed field: as that field.
    Newtype(&'a Type),
    /// Variants without fields: one of a few words.
    Enum(Vec<Item<'a>>),
}

/// A field or a variant.
pub(crate) struct Item<'a> {
    pub(crate) ident: &'a Ident,
    /// How it is written in a declaration.
    pub(crate) name: String,
    /// The type, of a field.
    pub(crate) ty: Option<&'a Type>,
}

impl<'a> Property<'a> {
    /// Reads a type; `None` when it has another shape.
    pub(crate) fn from_input(cx: &Ctxt, input: &'a DeriveInput) -> Option<Self> {
        let pairs = attr::known_pairs(cx, &input.attrs, symbol::PROPERTY, symbol::PROPERTY_KEYS);
        let root = paths::root(cx, &pairs);
        let plain = without_parameters(cx, input, "a property");
        let shape = shape(cx, input)?;
        plain.then_some(Self { ident: &input.ident, root, shape })
    }
}

fn shape<'a>(cx: &Ctxt, input: &'a DeriveInput) -> Option<Shape<'a>> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let items = fields.named.iter().filter_map(|field| {
                    let ident = field.ident.as_ref()?;
                    let name = renamed(cx, &field.attrs, || ident.unraw().to_string());
                    Some(Item { ident, name, ty: Some(&field.ty) })
                });
                Some(Shape::Struct(distinct(cx, items.collect())))
            }
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                fields.unnamed.first().map(|field| Shape::Newtype(&field.ty))
            }
            Fields::Unnamed(fields) => {
                cx.error(fields, "a property with several fields needs their names");
                None
            }
            Fields::Unit => {
                cx.error(&input.ident, "a property holds something: add a field");
                None
            }
        },
        Data::Enum(data) => {
            let mut good = true;
            for variant in &data.variants {
                if !variant.fields.is_empty() {
                    cx.error(
                        &variant.fields,
                        "the variants of a property are words, without fields; use a struct for more",
                    );
                    good = false;
                }
            }
            if data.variants.is_empty() {
                cx.error(&input.ident, "a property holds something: add a variant");
                good = false;
            }
            let items = data.variants.iter().map(|variant| {
                let ident = &variant.ident;
                let name = renamed(cx, &variant.attrs, || kebab(&ident.unraw().to_string()));
                Item { ident, name, ty: None }
            });
            let items = distinct(cx, items.collect());
            good.then_some(Shape::Enum(items))
        }
        Data::Union(data) => {
            cx.error(data.union_token, "a property is a struct or an enum");
            None
        }
    }
}

fn renamed(cx: &Ctxt, attributes: &[syn::Attribute], name: impl FnOnce() -> String) -> String {
    let pairs = attr::known_pairs(cx, attributes, symbol::PROPERTY, symbol::PROPERTY_ITEM_KEYS);
    let given = pairs.first().and_then(|pair| attr::text(cx, pair));
    given.as_ref().map_or_else(name, LitStr::value)
}

/// Reports items that are written alike.
fn distinct<'a>(cx: &Ctxt, items: Vec<Item<'a>>) -> Vec<Item<'a>> {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|earlier| earlier.name == item.name) {
            cx.error(
                item.ident,
                format!(
                    "another one is written `{}` too; give it `#[property(rename = \"…\")]`",
                    item.name
                ),
            );
        }
    }
    items
}
