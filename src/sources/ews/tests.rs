//! The requests as they go out, and answers that end or lie in every way.

use std::time::Duration;

use super::answer::{Answer, Change, Message};
use super::failure::{Failure, Kind};
use super::options::{DeleteType, EwsAuth, EwsOptions};
use super::sink_for_tests;
use super::soap::{FolderRef, Request, Version};
use crate::base::bytes::ByteSource as _;
use crate::base::secret::Secret;
use crate::net::login::Login;
use crate::net::trust::Trust;
use crate::sources::Intake;

fn options() -> EwsOptions {
    EwsOptions {
        url: Some("https://mail.corp.example/EWS/Exchange.asmx".into()),
        auth: EwsAuth::Basic,
        username: "journal@corp.example".into(),
        login: Login::Password(Secret::new("secret".into())),
        folder: "inbox".into(),
        delete_type: DeleteType::Hard,
        trust: Trust::default(),
        proxy: None,
        timeout: Duration::from_secs(60),
        allow_plaintext: false,
        impersonate: None,
        mailbox: None,
    }
}

/// What changes here must be checked against the schema (`xmllint --schema messages.xsd`).
#[test]
fn the_requests() {
    let inbox = FolderRef::Distinguished { name: "inbox".into(), mailbox: None };
    let delegate = FolderRef::Distinguished { name: "inbox".into(), mailbox: Some("r&d@corp.example".into()) };
    let by_id = FolderRef::Id("AAMk+/=".into());
    let ids = ["AAMk\"1", "aamk<1"];
    let mut all = String::new();
    for (request, options, version) in [
        (Request::Folder(&inbox), options(), Version::NEWEST),
        (Request::Folders { below: &by_id, offset: 200 }, options(), Version::NEWEST),
        (
            Request::Sync { folder: &delegate, state: None },
            EwsOptions { impersonate: Some("other@corp.example".into()), ..options() },
            Version::NEWEST,
        ),
        (Request::Sync { folder: &by_id, state: Some("H4sI==") }, options(), Version::NEWEST),
        (Request::Measure(&ids), options(), Version::NEWEST),
        (Request::Mime(&ids), options(), Version::NEWEST),
        (Request::Delete(&ids), options(), Version::NEWEST),
        (
            Request::Delete(&ids),
            EwsOptions { delete_type: DeleteType::DeletedItems, ..options() },
            Version::NEWEST.older().unwrap(),
        ),
    ] {
        all += &request.xml(version, &options);
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

const HEAD: &str = "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"urn:s\"><s:Header/><s:Body><m:R xmlns:m=\"urn:m\" \
                    xmlns:t=\"urn:t\"><m:ResponseMessages>";
const TAIL: &str = "</m:ResponseMessages></m:R></s:Body></s:Envelope>";

fn mail(id: &str, base64: &str) -> String {
    format!(
        "<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message>\
         <t:MimeContent CharacterSet=\"UTF-8\">{base64}</t:MimeContent><t:ItemId Id=\"{id}\"/><t:Attachments>\
         <t:FileAttachment><t:Size>9</t:Size></t:FileAttachment></t:Attachments><t:Size>12</t:Size>\
         <t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x7d\" PropertyType=\"String\"/><t:Value>Received: a&#xD;\n\
         </t:Value></t:ExtendedProperty></t:Message></m:Items></m:GetItemResponseMessage>"
    )
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The messages with their mails, up to what ended the answer.
fn read(answer: &[u8]) -> (Vec<(Message, Vec<u8>)>, Option<Failure>) {
    let dir = tempfile::tempdir().unwrap();
    let intake = Intake::new(1024 * 1024, dir.path().to_owned());
    block(async {
        let (mut answer, mut read) = (Answer::new(answer), Vec::new());
        loop {
            let mut sink = sink_for_tests(&intake).await;
            match answer.message(Some(&mut sink)).await {
                Ok(Some(message)) => {
                    let bytes = sink.finish().await.unwrap().unwrap();
                    let mut mail = vec![0; bytes.len() as usize];
                    bytes.read_exact_at(0, &mut mail).unwrap();
                    read.push((message, mail));
                }
                Ok(None) => return (read, None),
                Err(failure) => return (read, Some(failure)),
            }
        }
    })
}

/// Wherever an answer ends, what it gave before is whole, and that it ended is an error.
#[test]
fn an_answer_that_is_cut_gives_no_part_of_a_mail() {
    let whole = format!("{HEAD}{}{}{TAIL}", mail("a", "Zmlyc3Q="), mail("b", "c2Vj\r\nb25k"));
    for cut in 0..=whole.len() {
        let (read, failure) = read(&whole.as_bytes()[..cut]);
        assert_eq!(failure.is_none(), cut == whole.len(), "{cut}: {failure:?}");
        for (at, (message, mail)) in read.iter().enumerate() {
            assert_eq!(mail.as_slice(), [b"first".as_slice(), b"second"][at], "{cut}");
            assert!(message.is_success() && message.items[0].size == Some(12), "{cut}");
            assert_eq!(message.items[0].transport_headers.as_deref(), Some("Received: a\r\n"), "{cut}");
        }
        let ended = [mail("a", "Zmlyc3Q=").len(), mail("b", "c2Vj\r\nb25k").len()];
        let expected = usize::from(cut >= HEAD.len() + ended[0]) + usize::from(cut >= HEAD.len() + ended[0] + ended[1]);
        assert_eq!(read.len(), expected, "{cut}");
    }
}

#[test]
fn answers_that_lie() {
    for (inner, word) in [
        (mail("a", "Zmlyc3Q"), "base64"),
        (mail("a", "Zm!yc3Q="), "base64"),
        (mail("a", "Zmly<x/>c3Q="), "something else"),
        ("<m:GetItemResponseMessage ResponseClass=\"Success\"><m:Items/></m:GetItemResponseMessage>".into(), "without its code"),
        (
            "<m:SyncFolderItemsResponseMessage><m:ResponseCode>NoError</m:ResponseCode><m:Changes><t:Create><t:Message/>\
             </t:Create></m:Changes></m:SyncFolderItemsResponseMessage>"
                .into(),
            "without its ItemId",
        ),
    ] {
        let (read, failure) = read(format!("{HEAD}{inner}{TAIL}").as_bytes());
        assert!(read.is_empty());
        assert!(failure.as_ref().is_some_and(|failure| failure.to_string().contains(word)), "{word}: {failure:?}");
    }
    for text in ["", "<html><body>hello</body></html>", "nothing of the kind", "<!DOCTYPE x [<!ENTITY a \"b\">]><x/>"] {
        let (_, failure) = read(text.as_bytes());
        assert!(matches!(failure, Some(Failure::Protocol(_))), "{text}: {failure:?}");
    }
    // Something without an end, and something too deep.
    let endless = format!("{HEAD}<a b=\"{}", "x".repeat(5 * 1024 * 1024));
    assert!(read(endless.as_bytes()).1.unwrap().to_string().contains("no end"));
    let deep = format!("{HEAD}{}", "<a>".repeat(1000));
    assert!(read(deep.as_bytes()).1.unwrap().to_string().contains("more elements"));
}

#[test]
fn changes_of_every_kind() {
    let changes = "<m:SyncFolderItemsResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                   <m:SyncState>H4s</m:SyncState><m:IncludesLastItemInRange>true</m:IncludesLastItemInRange><m:Changes>\
                   <t:Create><t:MeetingRequest><t:ItemId Id=\"a&amp;b\" ChangeKey=\"c\"/><t:X><t:ItemId Id=\"no\"/></t:X>\
                   </t:MeetingRequest></t:Create><t:Delete><t:ItemId Id=\"B\"/></t:Delete><t:ReadFlagChange>\
                   <t:ItemId Id=\"b\"/><t:IsRead>true</t:IsRead></t:ReadFlagChange></m:Changes>\
                   </m:SyncFolderItemsResponseMessage>";
    let (read, failure) = read(format!("{HEAD}{changes}{TAIL}").as_bytes());
    assert!(failure.is_none(), "{failure:?}");
    let page = &read[0].0;
    assert!(page.is_last && page.sync_state == "H4s");
    assert_eq!(page.changes, [Change::There("a&b".into()), Change::Gone("B".into()), Change::There("b".into())]);
}

#[test]
fn faults_say_their_code_wherever_it_stands() {
    let fault = |inner: &str| {
        let text = format!("<S:Envelope xmlns:S=\"urn:s\"><S:Body><S:Fault>{inner}</S:Fault></S:Body></S:Envelope>");
        read(text.as_bytes()).1.unwrap()
    };
    let busy = fault(
        "<faultcode>a:ErrorServerBusy</faultcode><faultstring>Busy.</faultstring><detail><e:ResponseCode xmlns:e=\"urn:e\">\
         ErrorServerBusy</e:ResponseCode><t:MessageXml xmlns:t=\"urn:t\"><t:Value Name=\"BackOffMilliseconds\">297749\
         </t:Value></t:MessageXml></detail>",
    );
    assert_eq!((busy.kind(), busy.hint()), (Kind::Busy, Some(Duration::from_millis(297_749))));
    let bare = fault("<faultcode>ErrorCannotFindUser</faultcode><faultstring>no such user</faultstring>");
    assert_eq!((bare.kind(), bare.to_string().as_str()), (Kind::Operator, "ErrorCannotFindUser: no such user"));
    let version =
        fault("<faultcode>S:Client</faultcode><faultstring>The specified server version is invalid.</faultstring>");
    assert_eq!(version.kind(), Kind::Version);
}
