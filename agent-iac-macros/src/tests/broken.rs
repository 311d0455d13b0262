//! Half-typed input. An editor runs the derives at every key press, so none of
//! them may panic, and each must give items.

use proc_macro2::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::quote;
use syn::DeriveInput;

/// A fixed sequence of numbers (splitmix64); a failure names where it began.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bound = u64::try_from(bound).expect("a length fits");
        usize::try_from((mixed ^ (mixed >> 31)) % bound).expect("less than a length")
    }
}

fn count(tokens: &TokenStream) -> usize {
    tokens
        .clone()
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => 1 + count(&group.stream()),
            _ => 1,
        })
        .sum()
}

/// Drops, doubles or exchanges the token at `at`, counted through all groups.
fn change(tokens: TokenStream, at: &mut usize, numbers: &mut Numbers) -> TokenStream {
    let mut changed = Vec::new();
    for token in tokens {
        let hit = *at == 0;
        *at = at.wrapping_sub(1);
        if hit {
            match numbers.below(6) {
                0 => {}
                1 => changed.extend([token.clone(), token]),
                2 => changed.push(Punct::new(',', Spacing::Alone).into()),
                3 => changed.push(Punct::new('=', Spacing::Joint).into()),
                4 => changed.push(Ident::new("rotat", Span::call_site()).into()),
                _ => changed.push(Group::new(Delimiter::Parenthesis, quote!(*)).into()),
            }
        } else if let TokenTree::Group(group) = token {
            let inner = change(group.stream(), at, numbers);
            changed.push(Group::new(group.delimiter(), inner).into());
        } else {
            changed.push(token);
        }
    }
    changed.into_iter().collect()
}

#[track_caller]
fn check(derive: fn(&DeriveInput) -> TokenStream, input: &TokenStream, trait_name: &str) {
    let mut derived = 0;
    for seed in 0..2_000 {
        let mut numbers = Numbers(seed);
        let mut tokens = input.clone();
        for _ in 0..=numbers.below(3) {
            let mut at = numbers.below(count(&tokens).max(1));
            tokens = change(tokens, &mut at, &mut numbers);
        }
        // rustc itself reports what is no item at all.
        let Ok(item) = syn::parse2::<DeriveInput>(tokens.clone()) else { continue };
        derived += 1;
        let output = derive(&item);
        let file = syn::parse2::<syn::File>(output.clone());
        assert!(file.is_ok(), "seed {seed}: {tokens}\ngave {output}");
        let implements = output.to_string().contains(&format!(":: {trait_name} for"));
        assert!(implements, "seed {seed}: {tokens}\ngave no `{trait_name}`");
    }
    assert!(derived > 150, "only {derived} inputs were items");
}

#[test]
fn a_half_typed_agent_is_still_an_agent() {
    let input = quote! {
        /// Answers questions about invoices.
        #[agent(owner = "team:billing", expires = "2027-06-30", grace = "3d", crate = "::x")]
        pub struct InvoiceReader {
            #[input(key)]
            schema: String,
            #[identity(name = format!("invoice_reader_{schema}"), protect)]
            account: pg::Role,
            #[permission(to = account, on = pg::Table::new(schema, "a*"), allow = [pg::Select])]
            invoices: pg::Grant,
            #[credential(of = account, rotate = "7d", overlap = "1h", deliver = "vault:db")]
            login: pg::Login,
        }
    };
    check(crate::agent, &input, "Agent");
}

#[test]
fn a_half_typed_resource_is_still_a_resource() {
    let input = quote! {
        #[resource(type = "postgres.login", kind = "credential", crate = crate)]
        pub struct Login {
            #[resource(key)]
            of: Link<Role>,
            #[resource(default, replace)]
            flags: BTreeSet<String>,
            comment: Option<String>,
            #[resource(output)]
            generation: u32,
        }
    };
    check(crate::resource, &input, "Resource");
}

#[test]
fn a_half_typed_property_is_still_a_property() {
    let input = quote! {
        #[property(crate = "crate")]
        enum Privilege {
            Select,
            #[property(rename = "tmp")]
            TemporaryTables,
        }
    };
    check(crate::property, &input, "Property");
}
