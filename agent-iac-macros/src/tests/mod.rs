//! What the derives write, as a person would read it, and that they write
//! something whatever they are given.

mod broken;

use expect_test::{ExpectFile, expect_file};
use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

#[track_caller]
fn check(derive: fn(&DeriveInput) -> TokenStream, input: TokenStream, expected: &ExpectFile) {
    let input = syn::parse2(input).expect("the test gives an item");
    let file = syn::parse2(derive(&input)).expect("the derive gives items");
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn an_agent() {
    check(
        crate::agent,
        quote! {
            /// Answers questions about invoices.
            #[agent(owner = "team:billing", expires = "2027-06-30", grace = "3d")]
            pub struct InvoiceReader {
                /// The schema of one tenant.
                #[input(key)]
                schema: String,
                #[identity(name = format!("invoice_reader_{schema}"), protect)]
                account: pg::Role,
                #[credential(of = account, rotate = "7d", overlap = "1h", deliver = "vault:db")]
                login: pg::Login,
            }
        },
        &expect_file!["./snapshots/agent.rs"],
    );
}

#[test]
fn a_resource() {
    check(
        crate::resource,
        quote! {
            /// A role.
            #[resource(type = "postgres.role", kind = "identity")]
            pub struct Role {
                /// Its name.
                #[resource(key)]
                name: String,
                #[resource(default)]
                member_of: BTreeSet<String>,
                comment: Option<String>,
                /// Its object id.
                #[resource(output)]
                oid: u32,
            }
        },
        &expect_file!["./snapshots/resource.rs"],
    );
}

#[test]
fn a_property_of_each_form() {
    let table = quote! {
        struct Table {
            schema: String,
            #[property(rename = "table")]
            name: Option<String>,
        }
    };
    check(crate::property, table, &expect_file!["./snapshots/property_struct.rs"]);
    let limit = quote! {
        struct Limit(u32);
    };
    check(crate::property, limit, &expect_file!["./snapshots/property_newtype.rs"]);
    let privilege = quote! {
        enum Privilege {
            Select,
            #[property(rename = "tmp")]
            TemporaryTables,
        }
    };
    check(crate::property, privilege, &expect_file!["./snapshots/property_enum.rs"]);
}

#[test]
fn what_is_wrong_is_left_out_and_the_rest_stays() {
    check(
        crate::agent,
        quote! {
            #[agent(owner = , expires = "tomorrow")]
            struct Reader {
                #[identity(name = account., display = "Reader", rotat)]
                account: pg::Role,
                unsaid: u32,
            }
        },
        &expect_file!["./snapshots/agent_with_mistakes.rs"],
    );
}
