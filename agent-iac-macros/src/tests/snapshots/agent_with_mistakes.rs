::core::compile_error! {
    "`owner` needs a value: write `owner = …`"
}
::core::compile_error! {
    "the value of `name` is no expression: expected identifier or integer"
}
::core::compile_error! {
    "nothing says what `unsaid` is; add `#[identity(…)]`, `#[permission(…)]`, `#[credential(…)]`, `#[runtime(…)]` or `#[input]`"
}
::core::compile_error! {
    "missing purpose; say in a doc comment (`/// …`) what the agent is for"
}
::core::compile_error! {
    "`tomorrow` is not a day; write it as `2027-06-30`"
}
::core::compile_error! {
    "`rotat` needs a value; did you mean `rotate = …`?"
}
///The parameters of [`Reader`]; one instance is made of them.
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct ReaderInputs {
    ///Its `unsaid`.
    unsaid: u32,
}
#[automatically_derived]
impl ::agent_iac::agent::AgentInputs for ReaderInputs {
    type Agent = Reader;
}
///References to the resources of one [`Reader`].
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct ReaderReferences {
    #[allow(dead_code, reason = "an agent without resources never reads it")]
    instance: ::agent_iac::address::Instance,
}
#[allow(
    dead_code,
    clippy::wrong_self_convention,
    reason = "the names are those of the fields"
)]
impl ReaderReferences {
    ///Refers to its `account`.
    fn account(&self) -> ::agent_iac::resource::Ref<pg::Role> {
        <pg::Role as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(&self.instance, "account"),
        )
    }
}
#[automatically_derived]
impl ::agent_iac::agent::References for ReaderReferences {
    fn of(instance: &::agent_iac::address::Instance) -> Self {
        Self {
            instance: ::core::clone::Clone::clone(instance),
        }
    }
}
const _: () = if ::agent_iac::__private::kind(
    <pg::Role as ::agent_iac::resource::Resource>::KIND,
    ::agent_iac::schema::Kind::Identity,
) {
    ::agent_iac::__private::keys(
        <pg::Role as ::agent_iac::resource::Resource>::RESOURCE,
        <pg::Role as ::agent_iac::resource::Resource>::REQUIRED,
        &["name", "display", "rotat"],
    )
};
#[automatically_derived]
impl ::agent_iac::agent::Agent for Reader {
    type Inputs = ReaderInputs;
    type References = ReaderReferences;
    const TERMS: ::agent_iac::agent::AgentTerms = ::agent_iac::agent::AgentTerms {
        name: ::std::borrow::Cow::Borrowed("reader"),
        owner: ::std::borrow::Cow::Borrowed(""),
        purpose: ::std::borrow::Cow::Borrowed(""),
        expires: ::std::borrow::Cow::Borrowed("tomorrow"),
        grace: ::core::option::Option::None,
        source: ::agent_iac::agent::Source::rust(
            ::core::file!(),
            ::core::line!(),
            ::core::column!(),
        ),
    };
    fn key(inputs: &ReaderInputs) -> ::std::vec::Vec<::std::string::String> {
        ::std::vec![]
    }
    #[allow(unused_variables, reason = "an expression need not name every field")]
    #[allow(unexpected_cfgs, reason = "an editor sets `rust_analyzer`")]
    fn declare(inputs: &ReaderInputs, cx: &mut ::agent_iac::agent::Declare) {
        let ReaderInputs { unsaid } = inputs;
        let account = &<pg::Role as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(cx.instance(), "account"),
        );
        {
            #[allow(unused_mut, reason = "a type may need no keys")]
            let mut keys = ::agent_iac::agent::Keys::new(
                <pg::Role as ::agent_iac::resource::Resource>::builder(),
            );
            keys.display("Reader");
            #[cfg(rust_analyzer)]
            {
                keys.rotat;
            }
            cx.add(
                "account",
                <pg::Role as ::agent_iac::resource::Resource>::RESOURCE,
                keys,
                ::agent_iac::agent::Source::rust(
                    ::core::file!(),
                    ::core::line!(),
                    ::core::column!(),
                ),
            );
        }
    }
    fn from_live(
        inputs: ReaderInputs,
        live: &::agent_iac::agent::Live<'_>,
    ) -> ::agent_iac::error::Result<Self> {
        let ReaderInputs { unsaid } = inputs;
        ::core::result::Result::Ok(Self {
            unsaid,
            account: ::agent_iac::__private::live(
                live,
                "account",
                <pg::Role as ::agent_iac::resource::Resource>::TYPE,
                <pg::Role as ::agent_iac::resource::Resource>::from_values,
            )?,
        })
    }
}
#[automatically_derived]
impl ::agent_iac::__private::ReadsFields for Reader {
    fn reads_fields(&self) {
        let _ = &self.unsaid;
        let _ = &self.account;
    }
}
