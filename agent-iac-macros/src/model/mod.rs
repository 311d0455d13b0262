//! What an input says, borrowed from syn, before anything is quoted.
//!
//! Every model is complete whatever was wrong with the input: what could not
//! be read was reported and left out, so that the expansion never hides what
//! rustc has to say about the rest.

pub(crate) mod agent;
pub(crate) mod property;
pub(crate) mod resource;

use syn::{Data, DeriveInput, Field, Fields, Type};

use crate::ctxt::Ctxt;

/// The named fields of a struct without parameters; every other shape is
/// reported, and `what` says what the derive makes.
pub(crate) fn named_fields<'a>(
    cx: &Ctxt,
    input: &'a DeriveInput,
    what: &str,
) -> Option<Vec<&'a Field>> {
    let repair = format!("{what} is a struct with named fields");
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Some(fields.named.iter().collect()),
            Fields::Unnamed(fields) => {
                cx.error(fields, format!("{repair}: name these"));
                None
            }
            Fields::Unit => {
                cx.error(&input.ident, format!("{repair}: add `{{ … }}`"));
                None
            }
        },
        Data::Enum(data) => {
            cx.error(data.enum_token, format!("{repair}, not an enum"));
            None
        }
        Data::Union(data) => {
            cx.error(data.union_token, format!("{repair}, not a union"));
            None
        }
    };
    let plain = without_parameters(cx, input, what);
    fields.filter(|_| plain)
}

/// Whether the type has no parameters; they are reported.
pub(crate) fn without_parameters(cx: &Ctxt, input: &DeriveInput, what: &str) -> bool {
    let plain = input.generics.params.is_empty();
    if !plain {
        cx.error(
            &input.generics.params,
            format!("{what} has no parameters; name concrete types in its fields"),
        );
    }
    plain
}

/// The last name of a type's path: `Link` of `agent_iac::resource::Link<R>`.
pub(crate) fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Group(group) => last_name(&group.elem),
        Type::Paren(paren) => last_name(&paren.elem),
        _ => None,
    }
}

/// `InvoiceReader` as `invoice-reader`, `HTTPServer` as `http-server`.
pub(crate) fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (index, &letter) in letters.iter().enumerate() {
        if letter == '_' {
            text.push('-');
            continue;
        }
        let before = index.checked_sub(1).map(|before| letters[before]);
        let after = letters.get(index + 1);
        // A word begins at a capital behind a small letter or a digit, and at
        // the last of several capitals.
        let begins = letter.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || before.is_uppercase() && after.is_some_and(|after| after.is_lowercase())
            });
        if begins {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::kebab;

    #[test]
    fn names_become_words_with_dashes() {
        for (name, expected) in [
            ("Select", "select"),
            ("InvoiceReader", "invoice-reader"),
            ("HTTPServer", "http-server"),
            ("Tls13Only", "tls13-only"),
            ("Snake_Case", "snake-case"),
            ("A", "a"),
        ] {
            assert_eq!(kebab(name), expected);
        }
    }
}
