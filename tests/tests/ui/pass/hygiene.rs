//! Generated code names nothing that the user's names can change.
#![allow(dead_code, non_camel_case_types)]

use agent_iac::{resource::Link as Pointer, *};

mod std {}
mod core {}
struct String;
struct Vec;
struct Option;
struct Result;
struct Ok;
struct Err;
struct Some;
struct None;
trait Default {}
trait Clone {}
trait ToString {}

type Text = ::std::string::String;
type Link<R> = Pointer<R>;

#[derive(Resource)]
#[resource(type = "test.role", kind = "identity")]
struct Role {
    #[resource(key)]
    value: Text,
    #[resource(default)]
    r#type: Text,
    values: ::std::option::Option<Text>,
    builder: ::std::option::Option<Text>,
    #[resource(output)]
    r#match: u32,
}

#[derive(Resource)]
#[resource(type = "test.login", kind = "credential")]
struct Login {
    of: Link<Role>,
}

#[::std::prelude::v1::derive(::std::fmt::Debug, Property)]
enum r#enum {
    A,
    r#B,
}

/// Reads invoices.
#[derive(Agent)]
#[agent(owner = "team:billing", expires = "2027-06-30")]
struct r#Reader {
    #[input(key)]
    cx: Text,
    #[input]
    inputs: bool,
    #[input]
    live: u8,
    #[identity(value = cx, r#type = "x")]
    keys: Role,
    #[identity(value = format!("{}", keys.r#match()))]
    r#loop: Role,
    #[credential(of = r#loop, deliver = cx, protect = *inputs)]
    value: Login,
}

fn main() {}
