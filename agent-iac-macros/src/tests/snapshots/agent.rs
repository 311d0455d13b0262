///The parameters of [`InvoiceReader`]; one instance is made of them.
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct InvoiceReaderInputs {
    ///The schema of one tenant.
    pub schema: String,
}
#[automatically_derived]
impl ::agent_iac::agent::AgentInputs for InvoiceReaderInputs {
    type Agent = InvoiceReader;
}
///References to the resources of one [`InvoiceReader`].
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct InvoiceReaderReferences {
    #[allow(dead_code, reason = "an agent without resources never reads it")]
    instance: ::agent_iac::address::Instance,
}
#[allow(
    dead_code,
    clippy::wrong_self_convention,
    reason = "the names are those of the fields"
)]
impl InvoiceReaderReferences {
    ///Refers to its `account`.
    pub fn account(&self) -> ::agent_iac::resource::Ref<pg::Role> {
        <pg::Role as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(&self.instance, "account"),
        )
    }
    ///Refers to its `login`.
    pub fn login(&self) -> ::agent_iac::resource::Ref<pg::Login> {
        <pg::Login as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(&self.instance, "login"),
        )
    }
}
#[automatically_derived]
impl ::agent_iac::agent::References for InvoiceReaderReferences {
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
        &["name"],
    )
};
const _: () = if ::agent_iac::__private::kind(
    <pg::Login as ::agent_iac::resource::Resource>::KIND,
    ::agent_iac::schema::Kind::Credential,
) {
    ::agent_iac::__private::keys(
        <pg::Login as ::agent_iac::resource::Resource>::RESOURCE,
        <pg::Login as ::agent_iac::resource::Resource>::REQUIRED,
        &["of"],
    )
};
#[automatically_derived]
impl ::agent_iac::agent::Agent for InvoiceReader {
    type Inputs = InvoiceReaderInputs;
    type References = InvoiceReaderReferences;
    const TERMS: ::agent_iac::agent::AgentTerms = ::agent_iac::agent::AgentTerms {
        name: ::std::borrow::Cow::Borrowed("invoice-reader"),
        owner: ::std::borrow::Cow::Borrowed("team:billing"),
        purpose: ::std::borrow::Cow::Borrowed("Answers questions about invoices."),
        expires: ::std::borrow::Cow::Borrowed("2027-06-30"),
        grace: ::core::option::Option::Some(::std::borrow::Cow::Borrowed("3d")),
        source: ::agent_iac::agent::Source::rust(
            ::core::file!(),
            ::core::line!(),
            ::core::column!(),
        ),
    };
    fn key(inputs: &InvoiceReaderInputs) -> ::std::vec::Vec<::std::string::String> {
        ::std::vec![::agent_iac::__private::key_text:: < String > (& inputs.schema)]
    }
    #[allow(unused_variables, reason = "an expression need not name every field")]
    #[allow(unexpected_cfgs, reason = "an editor sets `rust_analyzer`")]
    fn declare(inputs: &InvoiceReaderInputs, cx: &mut ::agent_iac::agent::Declare) {
        let InvoiceReaderInputs { schema } = inputs;
        let account = &<pg::Role as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(cx.instance(), "account"),
        );
        let login = &<pg::Login as ::agent_iac::resource::Resource>::reference(
            ::agent_iac::__private::address(cx.instance(), "login"),
        );
        {
            #[allow(unused_mut, reason = "a type may need no keys")]
            let mut keys = ::agent_iac::agent::Keys::new(
                <pg::Role as ::agent_iac::resource::Resource>::builder(),
            );
            keys.name(format!("invoice_reader_{schema}"));
            keys.protect(true);
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
        {
            #[allow(unused_mut, reason = "a type may need no keys")]
            let mut keys = ::agent_iac::agent::Keys::new(
                <pg::Login as ::agent_iac::resource::Resource>::builder(),
            );
            keys.of(account);
            keys.rotate("7d");
            keys.overlap("1h");
            keys.deliver("vault:db");
            cx.add(
                "login",
                <pg::Login as ::agent_iac::resource::Resource>::RESOURCE,
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
        inputs: InvoiceReaderInputs,
        live: &::agent_iac::agent::Live<'_>,
    ) -> ::agent_iac::error::Result<Self> {
        let InvoiceReaderInputs { schema } = inputs;
        ::core::result::Result::Ok(Self {
            schema,
            account: ::agent_iac::__private::live(
                live,
                "account",
                <pg::Role as ::agent_iac::resource::Resource>::TYPE,
                <pg::Role as ::agent_iac::resource::Resource>::from_values,
            )?,
            login: ::agent_iac::__private::live(
                live,
                "login",
                <pg::Login as ::agent_iac::resource::Resource>::TYPE,
                <pg::Login as ::agent_iac::resource::Resource>::from_values,
            )?,
        })
    }
}
#[automatically_derived]
impl ::agent_iac::__private::ReadsFields for InvoiceReader {
    fn reads_fields(&self) {
        let _ = &self.schema;
        let _ = &self.account;
        let _ = &self.login;
    }
}
