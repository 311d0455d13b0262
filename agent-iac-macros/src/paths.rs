//! Where generated code finds the core crate.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Expr, Path, parse_quote_spanned};

use crate::{
    attr::{self, Given, Pair},
    ctxt::Ctxt,
    symbol,
};

/// The path that `crate = "…"` gives, or `::agent_iac`.
pub(crate) fn root(cx: &Ctxt, pairs: &[Pair]) -> Path {
    let given = pairs.iter().find(|pair| pair.name() == symbol::CRATE);
    given.and_then(|pair| parse(cx, pair)).unwrap_or_else(standard)
}

/// `::agent_iac`, named where the derive is written.
pub(crate) fn standard() -> Path {
    parse_quote_spanned!(Span::mixed_site()=> ::agent_iac)
}

/// The path with every token at `span`. Where rustc reports a generated
/// expression, it takes the place of its first tokens too.
pub(crate) fn at(root: &Path, span: Span) -> TokenStream {
    let place = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    root.to_token_stream().into_iter().map(place).collect()
}

fn parse(cx: &Ctxt, pair: &Pair) -> Option<Path> {
    if let Given::Value(Expr::Path(path)) = &pair.given {
        return Some(path.path.clone());
    }
    let text = attr::text(cx, pair)?;
    let path = text.parse_with(Path::parse_mod_style);
    if path.is_err() {
        cx.error(&text, "`crate` takes the path of the crate, as in `crate = \"::agent_iac\"`");
    }
    path.ok()
}
