//! Tests of the scanner, the hostile ones included.

use proptest::prelude::*;

use super::*;

fn texts(mail: &str) -> Vec<(usize, &str, &str)> {
    let structure = scan(mail.as_bytes());
    let text = |range: &Range<u64>| &mail[range.start as usize..range.end as usize];
    structure.parts.iter().map(|part| (part.depth, text(&part.header), text(&part.body))).collect()
}

/// The whole mail in windows of the given sizes, in turn.
fn in_windows(mail: &[u8], sizes: &[usize]) -> Structure {
    let mut scanner = Scanner::new(Limits::default());
    let mut rest = mail;
    for size in sizes.iter().cycle() {
        let (window, after) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        scanner.feed(window);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    scanner.finish()
}

#[test]
fn nested_parts_lie_where_they_lie() {
    for line_break in ["\n", "\r\n"] {
        let mail = "Content-Type: multipart/mixed; boundary=a\n\npreamble\n--a\nContent-Type: multipart/alternative;\n boundary=\"ab\"\n\n--ab\n\none\n--ab  \nX: y\n\ntwo\n\n--ab--\nepilogue\n--a\nContent-Type: message/rfc822\n\nSubject: in\n\nthree\n--a--\nend\n"
            .replace('\n', line_break);
        let parts = texts(&mail);
        let bodies: Vec<_> = parts.iter().map(|(depth, _, body)| (*depth, body.replace('\r', ""))).collect();
        assert_eq!(bodies[2], (2, "one".into()));
        assert_eq!(bodies[3], (2, "two\n".into()));
        assert_eq!(bodies[4], (1, "Subject: in\n\nthree".into()));
        assert_eq!(bodies[5], (2, "three".into()));
        assert!(bodies[1].1.ends_with("--ab--\nepilogue"));
        assert!(bodies[0].1.ends_with("end\n"));
        assert_eq!(bodies.len(), 6);
        assert_eq!(parts[3].1, format!("X: y{line_break}{line_break}"));
        let structure = scan(mail.as_bytes());
        assert_eq!(structure.children(0).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(structure.subtree(1), 1..4);
    }
}

#[test]
fn boundaries_that_begin_with_or_end_in_one_another() {
    let parts =
        texts("Content-Type: multipart/mixed; boundary=\"b--\"\n\n--b----x\n--b--\n\none\n--b\n--b--x\n--b----\n");
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[1].2, "one\n--b\n--b--x");
}

#[test]
fn an_outer_delimiter_closes_what_is_open_inside() {
    let parts = texts(
        "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\none\n--o\nX: header only\n--o--\n",
    );
    let bodies: Vec<_> = parts.iter().skip(1).map(|part| part.2).collect();
    assert_eq!(bodies, ["--i\n\none", "one", ""]);
}

#[test]
fn missing_closing_delimiters_end_with_the_mail() {
    let parts = texts("Content-Type: multipart/mixed; boundary=o\n\n--o\n\none\n");
    assert_eq!(parts[1].2, "one\n");
    let parts = texts("Content-Type: multipart/mixed; boundary=o\n\n--o");
    assert_eq!((parts.len(), parts[1].2), (2, ""));
}

#[test]
fn a_digest_holds_messages() {
    let structure = scan(b"Content-Type: multipart/digest; boundary=o\n\n--o\n\nSubject: x\n\none\n--o--\n");
    let kinds: Vec<_> = structure.parts.iter().map(|part| part.kind).collect();
    assert_eq!(kinds, [Kind::Multipart, Kind::Message, Kind::Leaf]);
}

#[test]
fn fifty_thousand_nested_messages() {
    let mail = "Content-Type: message/rfc822\r\n\r\n".repeat(50_000);
    let structure = scan(mail.as_bytes());
    assert!(structure.limited);
    assert_eq!(structure.parts.len(), Limits::default().depth + 1);
}

#[test]
fn fifty_thousand_nested_multiparts() {
    let mut mail = String::new();
    for level in 0..50_000 {
        mail += &format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
    }
    let structure = scan(mail.as_bytes());
    assert!(structure.limited);
    assert_eq!(structure.parts.len(), Limits::default().depth + 1);
}

#[test]
fn a_hundred_thousand_parts_leave_the_outer_structure_right() {
    let mut mail = String::from("Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n");
    mail += "Content-Type: multipart/mixed; boundary=i\n\n";
    mail += &"--i\n\nx\n".repeat(100_000);
    mail += "--i--\n--o--\n";
    let structure = scan(mail.as_bytes());
    assert!(structure.limited);
    assert_eq!(structure.parts.len(), Limits::default().parts);
    assert!(mail[..structure.parts[1].body.end as usize].ends_with("--i--"));
    assert!(mail[structure.parts[1].body.end as usize..].starts_with("\n--o--"));
}

#[test]
fn a_huge_header_is_read_to_its_limit() {
    let mut mail = b"Subject: x\n".to_vec();
    for _ in 0..300_000 {
        mail.extend_from_slice(b"X-Filler: 0123456789\n");
    }
    mail.extend_from_slice(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n");
    let structure = scan(&mail);
    assert!(structure.limited);
    assert_eq!(structure.root_header.len(), Limits::default().header_bytes);
    let two_megabytes = &mail[mail.len() - 2_000_042..];
    assert_eq!(scan(two_megabytes).parts.len(), 2);
}

#[test]
fn lines_and_delimiters_without_end() {
    let mut mail = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n".to_vec();
    mail.extend(std::iter::repeat_n(b'-', 1 << 20));
    mail.extend(b"\n--b".iter().chain(&vec![b' '; 1 << 20]));
    mail.extend(b"\n--b--\n");
    let whole = scan(&mail);
    assert_eq!(whole, in_windows(&mail, &[4096]));
    assert_eq!(whole.parts.len(), 2);
}

#[test]
fn many_delimiter_like_lines_are_linear() {
    let mut mail = String::new();
    for level in 0..60 {
        mail += &format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
    }
    mail += "\n";
    mail += &"--\n".repeat(500_000);
    // Quadratic, this would take minutes; no clock is asked, because machines differ.
    assert_eq!(scan(mail.as_bytes()).parts.len(), 61);
}

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 17] = [
        "Content-Type: multipart/mixed; boundary=a\n",
        "Content-Type: multipart/digest;\r\n\tboundary=\"a--\"\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Transfer-Encoding: base64\n",
        "--a\n",
        "--a\r\n",
        "--a--\r\n",
        "--a----\n",
        "--a",
        "\n",
        "\r\n",
        "\r",
        "-",
        " ",
        "text\n",
        "x",
        "\u{fc}",
    ];
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..40).prop_map(|all| all.concat().into_bytes())
}

proptest! {
    #[test]
    fn windows_do_not_matter(mail in fragments(), sizes in proptest::collection::vec(1usize..9, 1..5)) {
        let whole = scan(&mail);
        prop_assert_eq!(&whole, &in_windows(&mail, &[1]));
        prop_assert_eq!(&whole, &in_windows(&mail, &sizes));
    }

    #[test]
    fn leaves_rise_and_do_not_overlap(mail in fragments()) {
        let structure = scan(&mail);
        let mut end = 0;
        for (index, part) in structure.parts.iter().enumerate() {
            prop_assert!(part.header.start <= part.header.end && part.header.end <= part.body.start);
            prop_assert!(part.body.start <= part.body.end && part.body.end <= mail.len() as u64);
            if structure.is_leaf(index) && !part.body.is_empty() {
                prop_assert!(end <= part.body.start);
                end = part.body.end;
            }
        }
    }
}
