//! Fields that need each other.
//!
//! Looks at tokens, since an expression may be a macro call. A name inside a
//! string (`"{account}"`) is not seen; the blueprint, which knows every
//! reference, then says the same.

use proc_macro2::{Ident, Spacing, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;

use crate::{
    attr::Given,
    ctxt::Ctxt,
    model::agent::{Agent, Declaration},
};

/// An object is made after those that it needs, so there must be a first.
pub(super) fn fields_do_not_need_each_other(cx: &Ctxt, agent: &Agent<'_>) {
    let names: Vec<&str> = agent.resources.iter().map(|field| field.name.as_str()).collect();
    let edges: Vec<Vec<(usize, Ident)>> =
        agent.resources.iter().map(|field| needs(field, &names)).collect();
    let mut search = Search {
        cx,
        names: &names,
        edges: &edges,
        state: vec![State::New; names.len()],
        path: Vec::new(),
        reported: vec![false; names.len()],
    };
    for start in 0..names.len() {
        search.visit(start);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    OnPath,
    Done,
}

struct Search<'a> {
    cx: &'a Ctxt,
    names: &'a [&'a str],
    edges: &'a [Vec<(usize, Ident)>],
    state: Vec<State>,
    path: Vec<usize>,
    /// Fields of a cycle that was reported: another through them is most
    /// likely the same mistake.
    reported: Vec<bool>,
}

impl Search<'_> {
    fn visit(&mut self, field: usize) {
        if self.state[field] != State::New {
            return;
        }
        self.state[field] = State::OnPath;
        self.path.push(field);
        let edges = self.edges;
        for (needed, token) in &edges[field] {
            if self.state[*needed] == State::OnPath {
                self.report(*needed, token);
            } else {
                self.visit(*needed);
            }
        }
        self.path.pop();
        self.state[field] = State::Done;
    }

    fn report(&mut self, first: usize, token: &Ident) {
        let start = self.path.iter().position(|field| *field == first).unwrap_or_default();
        let cycle = &self.path[start..];
        if cycle.iter().any(|field| self.reported[*field]) {
            return;
        }
        let message = if let [alone] = cycle {
            format!(
                "`{}` needs itself; an object is made after those that it needs",
                self.names[*alone]
            )
        } else {
            let around: Vec<String> = cycle
                .iter()
                .chain([&first])
                .map(|field| format!("`{}`", self.names[*field]))
                .collect();
            format!("these need each other: {}; take one reference out", around.join(" → "))
        };
        self.cx.error(token, message);
        for field in cycle {
            self.reported[*field] = true;
        }
    }
}

/// The fields whose names stand in the values of `field`, with one place of
/// each.
fn needs(field: &Declaration<'_>, names: &[&str]) -> Vec<(usize, Ident)> {
    let mut found: Vec<(usize, Ident)> = Vec::new();
    for pair in &field.pairs {
        let Given::Value(value) = &pair.given else { continue };
        let mut variables = Vec::new();
        let mut bound = Vec::new();
        scan(value.to_token_stream(), &mut variables, &mut bound);
        for ident in variables {
            let name = ident.unraw().to_string();
            // A closure's parameter of that name is not the field.
            if bound.contains(&name) {
                continue;
            }
            if let Some(index) = names.iter().position(|known| *known == name)
                && found.iter().all(|(earlier, _)| *earlier != index)
            {
                found.push((index, ident));
            }
        }
    }
    found
}

/// Collects the names that stand where a variable can, and those that are
/// bound inside the expression.
fn scan(tokens: TokenStream, variables: &mut Vec<Ident>, bound: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let punct = |index: Option<usize>| match index.and_then(|index| tokens.get(index)) {
        Some(TokenTree::Punct(punct)) => Some((punct.as_char(), punct.spacing())),
        _ => None,
    };
    for (index, token) in tokens.iter().enumerate() {
        let ident = match token {
            TokenTree::Group(group) => {
                scan(group.stream(), variables, bound);
                continue;
            }
            TokenTree::Ident(ident) => ident,
            TokenTree::Punct(_) | TokenTree::Literal(_) => continue,
        };
        let before = punct(index.checked_sub(1)).map(|(c, _)| c);
        let further_before = punct(index.checked_sub(2)).map(|(c, _)| c);
        let after = punct(Some(index + 1));
        let called = matches!(
            tokens.get(index + 1),
            Some(TokenTree::Group(group)) if group.delimiter() == proc_macro2::Delimiter::Parenthesis
        );
        let let_before = matches!(
            index.checked_sub(1).map(|before| &tokens[before]),
            Some(TokenTree::Ident(word)) if word == "let" || word == "mut" || word == "ref"
        );
        if let_before || before == Some('|') && matches!(after, Some(('|' | ',' | ':', _))) {
            bound.push(ident.unraw().to_string());
            continue;
        }
        let member = before == Some('.') && further_before != Some('.');
        let in_path = before == Some(':') && further_before == Some(':');
        let no_value = match after {
            // A path, a field of a struct, a macro or the name of a macro's
            // argument; but not a comparison.
            Some((':', _) | ('!' | '=', Spacing::Alone)) => true,
            _ => called,
        };
        if !member && !in_path && !no_value {
            variables.push(ident.clone());
        }
    }
}
