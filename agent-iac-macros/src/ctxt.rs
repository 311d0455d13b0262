//! Collects the mistakes of one struct, so that all are reported in one build.

use std::{cell::RefCell, fmt};

use proc_macro2::TokenStream;
use quote::ToTokens;

/// Where parsing reports what is wrong.
pub(crate) struct Ctxt(RefCell<Vec<syn::Error>>);

impl Ctxt {
    /// Runs `parse`, and gives what it could make of the input together with
    /// the mistakes as `compile_error!` calls. The closure's end is the only
    /// way out, so no caller can forget to report.
    pub(crate) fn collect<T>(parse: impl FnOnce(&Self) -> T) -> (T, TokenStream) {
        let cx = Self(RefCell::default());
        let parsed = parse(&cx);
        let errors = cx.0.into_inner().iter().map(syn::Error::to_compile_error).collect();
        (parsed, errors)
    }

    /// Reports a mistake at the tokens of `at`.
    pub(crate) fn error(&self, at: impl ToTokens, message: impl fmt::Display) {
        self.push(syn::Error::new_spanned(at, message));
    }

    /// Reports a mistake that syn found.
    pub(crate) fn push(&self, error: syn::Error) {
        self.0.borrow_mut().push(error);
    }
}
