//! From the tokens of an attribute to keys and values.
//!
//! Knows the form `key` and `key = value`, repetitions, and which keys an
//! attribute takes; not what they mean. It keeps what can be read of a
//! half-typed attribute and reports the rest.

use proc_macro2::TokenTree;
use syn::{
    Attribute, Expr, Ident, Lit, LitStr, Meta, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

use crate::{ctxt::Ctxt, symbol};

/// One `key` or `key = value`.
pub(crate) struct Pair {
    /// The key, with its place.
    pub(crate) key: Ident,
    /// What stands behind it.
    pub(crate) given: Given,
}

/// What stands behind a key.
pub(crate) enum Given {
    /// Nothing: the key alone.
    Bare,
    /// An expression.
    Value(Expr),
    /// Something that was reported already.
    Broken,
}

impl Pair {
    /// The key without `r#`.
    pub(crate) fn name(&self) -> String {
        self.key.unraw().to_string()
    }
}

/// The pairs of one attribute: `#[name(key = value, …)]` or `#[name]`.
pub(crate) fn pairs(cx: &Ctxt, attribute: &Attribute) -> Vec<Pair> {
    match &attribute.meta {
        Meta::Path(_) => Vec::new(),
        Meta::List(list) => {
            let parse = |input: ParseStream<'_>| Ok(read(cx, input));
            parse.parse2(list.tokens.clone()).unwrap_or_else(|error| {
                cx.push(error);
                Vec::new()
            })
        }
        Meta::NameValue(pair) => {
            let name = pair.path.get_ident().map(Ident::to_string).unwrap_or_default();
            cx.error(pair, format!("write `#[{name}(…)]`, with the keys in parentheses"));
            Vec::new()
        }
    }
}

fn read(cx: &Ctxt, input: ParseStream<'_>) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    while !input.is_empty() {
        if let Ok(key) = Ident::parse_any(input) {
            let given = read_given(cx, &key, input);
            pairs.push(Pair { key, given });
        } else {
            cx.push(input.error("expected a key, as in `key = value`"));
            skip_to_comma(input);
        }
        if !input.is_empty() && input.parse::<Token![,]>().is_err() {
            cx.push(input.error("expected `,` before the next key"));
            skip_to_comma(input);
            if input.parse::<Token![,]>().is_err() {
                break;
            }
        }
    }
    pairs
}

fn read_given(cx: &Ctxt, key: &Ident, input: ParseStream<'_>) -> Given {
    if input.is_empty() || input.peek(Token![,]) {
        return Given::Bare;
    }
    if input.parse::<Token![=]>().is_err() {
        cx.push(input.error(format!("expected `{key} = …`")));
        skip_to_comma(input);
        return Given::Broken;
    }
    if input.is_empty() || input.peek(Token![,]) {
        cx.error(key, format!("`{key}` needs a value: write `{key} = …`"));
        return Given::Broken;
    }
    // Tried on a fork, so that what follows a broken value is still read.
    let fork = input.fork();
    match fork.parse::<Expr>() {
        Ok(value) => {
            use syn::parse::discouraged::Speculative as _;
            input.advance_to(&fork);
            Given::Value(value)
        }
        Err(error) => {
            let message = format!("the value of `{key}` is no expression: {error}");
            cx.push(syn::Error::new(error.span(), message));
            skip_to_comma(input);
            Given::Broken
        }
    }
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        if input.parse::<TokenTree>().is_err() {
            break;
        }
    }
}

/// The pairs of every attribute `name` among `attributes`, without those that
/// it does not take and without repetitions; both are reported.
pub(crate) fn known_pairs(
    cx: &Ctxt,
    attributes: &[Attribute],
    name: &str,
    known: &[&str],
) -> Vec<Pair> {
    let mut kept = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(name)) {
        for pair in pairs(cx, attribute) {
            if known.contains(&pair.name().as_str()) {
                kept.push(pair);
            } else {
                unknown(cx, &pair.key, name, known);
            }
        }
    }
    without_repetitions(cx, kept)
}

/// Reports a key that an attribute does not take.
pub(crate) fn unknown(cx: &Ctxt, key: &Ident, attribute: &str, known: &[&str]) {
    let word = key.unraw().to_string();
    let repair = match symbol::nearest(&word, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it takes {}", listed(known)),
    };
    cx.error(key, format!("unknown key `{word}` of `#[{attribute}]`; {repair}"));
}

/// Reports keys that stand twice, and keeps the first of each.
pub(crate) fn without_repetitions(cx: &Ctxt, pairs: Vec<Pair>) -> Vec<Pair> {
    let mut kept: Vec<Pair> = Vec::new();
    for pair in pairs {
        if kept.iter().any(|earlier| earlier.name() == pair.name()) {
            cx.error(&pair.key, format!("`{}` stands twice; remove one", pair.name()));
        } else {
            kept.push(pair);
        }
    }
    kept
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The value as a string literal; anything else is reported.
pub(crate) fn text(cx: &Ctxt, pair: &Pair) -> Option<LitStr> {
    let key = pair.name();
    match &pair.given {
        Given::Value(value) => {
            let text = string_literal(value);
            if text.is_none() {
                cx.error(value, format!("`{key}` takes a string literal: `{key} = \"…\"`"));
            }
            text.cloned()
        }
        Given::Bare => {
            cx.error(&pair.key, format!("`{key}` needs a value: write `{key} = \"…\"`"));
            None
        }
        Given::Broken => None,
    }
}

/// Reports a value behind a key that takes none.
pub(crate) fn flag(cx: &Ctxt, pair: &Pair) {
    if let Given::Value(value) = &pair.given {
        let key = pair.name();
        cx.error(value, format!("`{key}` takes no value; write `{key}` alone"));
    }
}

/// The literal that the expression is, also within a group or parentheses.
pub(crate) fn string_literal(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text),
            _ => None,
        },
        Expr::Group(group) => string_literal(&group.expr),
        Expr::Paren(paren) => string_literal(&paren.expr),
        _ => None,
    }
}

/// The doc comment as text, one line for each line, without the space that
/// stands behind `///`.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attribute.meta
            && let Some(text) = string_literal(&pair.value)
        {
            // `///` alone is an empty line, which `lines` would not give.
            lines.extend(
                text.value()
                    .split('\n')
                    .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()),
            );
        }
    }
    lines.join("\n").trim().to_owned()
}
