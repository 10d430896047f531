//! The characters that HTML names: those of Latin, Greek and Cyrillic letters, punctuation and money, and the rest of
//! HTML 4. What is not here stays as it is written.

/// The longest name below.
pub const NAME_MAX: usize = 12;

/// The character of a name that a semicolon ends.
pub fn named(name: &str) -> Option<char> {
    NAMES.binary_search_by(|(found, _)| (*found).cmp(name)).ok().map(|at| NAMES[at].1)
}

/// The longest name at the start of `text` that may stand without a semicolon (HTML 5 §13.5), and its length.
pub fn unended(text: &str) -> Option<(char, usize)> {
    let longest = UNENDED_MAX.min(text.len());
    (2..=longest).rev().find_map(|len| {
        let name = text.get(..len)?;
        UNENDED.binary_search(&name).ok()?;
        Some((named(name)?, len))
    })
}

const UNENDED_MAX: usize = 6;

#[rustfmt::skip]
static UNENDED: &[&str] = &[
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil", "ETH", "Eacute",
    "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT", "Ntilde", "Oacute", "Ocirc", "Ograve",
    "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN", "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute",
    "acirc", "acute", "aelig", "agrave", "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent",
    "copy", "curren", "deg", "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro", "middot", "nbsp", "not",
    "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash", "otilde", "ouml", "para", "plusmn", "pound",
    "quot", "raquo", "reg", "sect", "shy", "sup1", "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc",
    "ugrave", "uml", "uuml", "yacute", "yen", "yuml",
];

/// In the order of bytes.
#[rustfmt::skip]
static NAMES: &[(&str, char)] = &[
    ("AElig", 'Æ'), ("AMP", '&'), ("Aacute", 'Á'), ("Abreve", 'Ă'), ("Acirc", 'Â'), ("Acy", 'А'), ("Agrave", 'À'),
    ("Alpha", 'Α'), ("Amacr", 'Ā'), ("Aogon", 'Ą'), ("Aring", 'Å'), ("Atilde", 'Ã'), ("Auml", 'Ä'), ("Bcy", 'Б'),
    ("Beta", 'Β'), ("CHcy", 'Ч'), ("COPY", '©'), ("Cacute", 'Ć'), ("Ccaron", 'Č'), ("Ccedil", 'Ç'), ("Ccirc", 'Ĉ'),
    ("Cdot", 'Ċ'), ("Cedilla", '¸'), ("CenterDot", '·'), ("Chi", 'Χ'), ("DJcy", 'Ђ'), ("DScy", 'Ѕ'), ("DZcy", 'Џ'),
    ("Dagger", '‡'), ("Dcaron", 'Ď'), ("Dcy", 'Д'), ("Delta", 'Δ'), ("Dot", '¨'), ("DoubleDot", '¨'), ("Dstrok", 'Đ'),
    ("ENG", 'Ŋ'), ("ETH", 'Ð'), ("Eacute", 'É'), ("Ecaron", 'Ě'), ("Ecirc", 'Ê'), ("Ecy", 'Э'), ("Edot", 'Ė'),
    ("Egrave", 'È'), ("Emacr", 'Ē'), ("Eogon", 'Ę'), ("Epsilon", 'Ε'), ("Eta", 'Η'), ("Euml", 'Ë'), ("Fcy", 'Ф'),
    ("GJcy", 'Ѓ'), ("GT", '>'), ("Gamma", 'Γ'), ("Gammad", 'Ϝ'), ("Gbreve", 'Ğ'), ("Gcedil", 'Ģ'), ("Gcirc", 'Ĝ'),
    ("Gcy", 'Г'), ("Gdot", 'Ġ'), ("HARDcy", 'Ъ'), ("Hat", '^'), ("Hcirc", 'Ĥ'), ("Hstrok", 'Ħ'), ("IEcy", 'Е'),
    ("IJlig", 'Ĳ'), ("IOcy", 'Ё'), ("Iacute", 'Í'), ("Icirc", 'Î'), ("Icy", 'И'), ("Idot", 'İ'), ("Igrave", 'Ì'),
    ("Imacr", 'Ī'), ("Iogon", 'Į'), ("Iota", 'Ι'), ("Itilde", 'Ĩ'), ("Iukcy", 'І'), ("Iuml", 'Ï'), ("Jcirc", 'Ĵ'),
    ("Jcy", 'Й'), ("Jsercy", 'Ј'), ("Jukcy", 'Є'), ("KHcy", 'Х'), ("KJcy", 'Ќ'), ("Kappa", 'Κ'), ("Kcedil", 'Ķ'),
    ("Kcy", 'К'), ("LJcy", 'Љ'), ("LT", '<'), ("Lacute", 'Ĺ'), ("Lambda", 'Λ'), ("Lcaron", 'Ľ'), ("Lcedil", 'Ļ'),
    ("Lcy", 'Л'), ("LeftArrow", '←'), ("Lmidot", 'Ŀ'), ("Lstrok", 'Ł'), ("Mcy", 'М'), ("MediumSpace", '\u{205f}'),
    ("Mu", 'Μ'), ("NJcy", 'Њ'), ("Nacute", 'Ń'), ("Ncaron", 'Ň'), ("Ncedil", 'Ņ'), ("Ncy", 'Н'),
    ("NoBreak", '\u{2060}'), ("Ntilde", 'Ñ'), ("Nu", 'Ν'), ("OElig", 'Œ'), ("Oacute", 'Ó'), ("Ocirc", 'Ô'),
    ("Ocy", 'О'), ("Odblac", 'Ő'), ("Ograve", 'Ò'), ("Omacr", 'Ō'), ("Omega", 'Ω'), ("Omicron", 'Ο'), ("Oslash", 'Ø'),
    ("Otilde", 'Õ'), ("Ouml", 'Ö'), ("OverBar", '‾'), ("Pcy", 'П'), ("Phi", 'Φ'), ("Pi", 'Π'), ("PlusMinus", '±'),
    ("Prime", '″'), ("Psi", 'Ψ'), ("QUOT", '"'), ("REG", '®'), ("Racute", 'Ŕ'), ("Rcaron", 'Ř'), ("Rcedil", 'Ŗ'),
    ("Rcy", 'Р'), ("Rho", 'Ρ'), ("RightArrow", '→'), ("SHCHcy", 'Щ'), ("SHcy", 'Ш'), ("SOFTcy", 'Ь'), ("Sacute", 'Ś'),
    ("Scaron", 'Š'), ("Scedil", 'Ş'), ("Scirc", 'Ŝ'), ("Scy", 'С'), ("Sigma", 'Σ'), ("THORN", 'Þ'), ("TRADE", '™'),
    ("TSHcy", 'Ћ'), ("TScy", 'Ц'), ("Tau", 'Τ'), ("Tcaron", 'Ť'), ("Tcedil", 'Ţ'), ("Tcy", 'Т'), ("Theta", 'Θ'),
    ("Tstrok", 'Ŧ'), ("Uacute", 'Ú'), ("Ubrcy", 'Ў'), ("Ubreve", 'Ŭ'), ("Ucirc", 'Û'), ("Ucy", 'У'), ("Udblac", 'Ű'),
    ("Ugrave", 'Ù'), ("Umacr", 'Ū'), ("UnderBar", '_'), ("Uogon", 'Ų'), ("Upsi", 'ϒ'), ("Upsilon", 'Υ'),
    ("Uring", 'Ů'), ("Utilde", 'Ũ'), ("Uuml", 'Ü'), ("Vcy", 'В'), ("Verbar", '‖'), ("Vert", '‖'),
    ("VerticalLine", '|'), ("Wcirc", 'Ŵ'), ("Xi", 'Ξ'), ("YAcy", 'Я'), ("YIcy", 'Ї'), ("YUcy", 'Ю'), ("Yacute", 'Ý'),
    ("Ycirc", 'Ŷ'), ("Ycy", 'Ы'), ("Yuml", 'Ÿ'), ("ZHcy", 'Ж'), ("Zacute", 'Ź'), ("Zcaron", 'Ž'), ("Zcy", 'З'),
    ("Zdot", 'Ż'), ("Zeta", 'Ζ'), ("aacute", 'á'), ("abreve", 'ă'), ("acirc", 'â'), ("acute", '´'), ("acy", 'а'),
    ("aelig", 'æ'), ("af", '\u{2061}'), ("agrave", 'à'), ("alefsym", 'ℵ'), ("alpha", 'α'), ("amacr", 'ā'),
    ("amp", '&'), ("and", '∧'), ("ang", '∠'), ("angst", 'Å'), ("aogon", 'ą'), ("apos", '\''), ("aring", 'å'),
    ("ast", '*'), ("asymp", '≈'), ("atilde", 'ã'), ("auml", 'ä'), ("backepsilon", '϶'), ("backprime", '‵'),
    ("bcy", 'б'), ("bdquo", '„'), ("bepsi", '϶'), ("beta", 'β'), ("bprime", '‵'), ("brvbar", '¦'), ("bsemi", '⁏'),
    ("bsol", '\\'), ("bull", '•'), ("bullet", '•'), ("cacute", 'ć'), ("cap", '∩'), ("caret", '⁁'), ("ccaron", 'č'),
    ("ccedil", 'ç'), ("ccirc", 'ĉ'), ("cdot", 'ċ'), ("cedil", '¸'), ("cent", '¢'), ("centerdot", '·'), ("chcy", 'ч'),
    ("check", '✓'), ("checkmark", '✓'), ("chi", 'χ'), ("circ", 'ˆ'), ("circledR", '®'), ("clubs", '♣'),
    ("colon", ':'), ("comma", ','), ("commat", '@'), ("cong", '≅'), ("copy", '©'), ("crarr", '↵'), ("cross", '✗'),
    ("cup", '∪'), ("curren", '¤'), ("dArr", '⇓'), ("dagger", '†'), ("darr", '↓'), ("dash", '‐'), ("dcaron", 'ď'),
    ("dcy", 'д'), ("ddagger", '‡'), ("deg", '°'), ("delta", 'δ'), ("diams", '♦'), ("die", '¨'), ("digamma", 'ϝ'),
    ("div", '÷'), ("divide", '÷'), ("djcy", 'ђ'), ("dollar", '$'), ("dscy", 'ѕ'), ("dstrok", 'đ'), ("dzcy", 'џ'),
    ("eacute", 'é'), ("ecaron", 'ě'), ("ecirc", 'ê'), ("ecy", 'э'), ("edot", 'ė'), ("egrave", 'è'), ("emacr", 'ē'),
    ("empty", '∅'), ("emsp", '\u{2003}'), ("eng", 'ŋ'), ("ensp", '\u{2002}'), ("eogon", 'ę'), ("epsi", 'ε'),
    ("epsilon", 'ε'), ("epsiv", 'ϵ'), ("equals", '='), ("equiv", '≡'), ("eta", 'η'), ("eth", 'ð'), ("euml", 'ë'),
    ("euro", '€'), ("excl", '!'), ("exist", '∃'), ("fcy", 'ф'), ("fnof", 'ƒ'), ("forall", '∀'), ("frac12", '½'),
    ("frac14", '¼'), ("frac34", '¾'), ("frasl", '⁄'), ("gacute", 'ǵ'), ("gamma", 'γ'), ("gammad", 'ϝ'),
    ("gbreve", 'ğ'), ("gcirc", 'ĝ'), ("gcy", 'г'), ("gdot", 'ġ'), ("ge", '≥'), ("gjcy", 'ѓ'), ("grave", '`'),
    ("gt", '>'), ("hArr", '⇔'), ("half", '½'), ("hardcy", 'ъ'), ("harr", '↔'), ("hcirc", 'ĥ'), ("hearts", '♥'),
    ("hellip", '…'), ("horbar", '―'), ("hstrok", 'ħ'), ("hybull", '⁃'), ("hyphen", '‐'), ("iacute", 'í'),
    ("ic", '\u{2063}'), ("icirc", 'î'), ("icy", 'и'), ("iecy", 'е'), ("iexcl", '¡'), ("igrave", 'ì'), ("ijlig", 'ĳ'),
    ("imacr", 'ī'), ("image", 'ℑ'), ("imath", 'ı'), ("imped", 'Ƶ'), ("infin", '∞'), ("inodot", 'ı'), ("int", '∫'),
    ("iocy", 'ё'), ("iogon", 'į'), ("iota", 'ι'), ("iquest", '¿'), ("isin", '∈'), ("it", '\u{2062}'), ("itilde", 'ĩ'),
    ("iukcy", 'і'), ("iuml", 'ï'), ("jcirc", 'ĵ'), ("jcy", 'й'), ("jmath", 'ȷ'), ("jsercy", 'ј'), ("jukcy", 'є'),
    ("kappa", 'κ'), ("kappav", 'ϰ'), ("kcedil", 'ķ'), ("kcy", 'к'), ("kgreen", 'ĸ'), ("khcy", 'х'), ("kjcy", 'ќ'),
    ("lArr", '⇐'), ("lacute", 'ĺ'), ("lambda", 'λ'), ("lang", '〈'), ("laquo", '«'), ("larr", '←'), ("lbrace", '{'),
    ("lbrack", '['), ("lcaron", 'ľ'), ("lcedil", 'ļ'), ("lceil", '⌈'), ("lcub", '{'), ("lcy", 'л'), ("ldquo", '“'),
    ("ldquor", '„'), ("le", '≤'), ("leftarrow", '←'), ("lfloor", '⌊'), ("ljcy", 'љ'), ("lmidot", 'ŀ'),
    ("lowast", '∗'), ("lowbar", '_'), ("loz", '◊'), ("lpar", '('), ("lrm", '\u{200e}'), ("lsaquo", '‹'),
    ("lsqb", '['), ("lsquo", '‘'), ("lsquor", '‚'), ("lstrok", 'ł'), ("lt", '<'), ("macr", '¯'), ("mcy", 'м'),
    ("mdash", '—'), ("micro", 'µ'), ("midast", '*'), ("middot", '·'), ("minus", '−'), ("mldr", '…'), ("mu", 'μ'),
    ("nabla", '∇'), ("nacute", 'ń'), ("napos", 'ŉ'), ("nbsp", '\u{a0}'), ("ncaron", 'ň'), ("ncedil", 'ņ'),
    ("ncy", 'н'), ("ndash", '–'), ("ne", '≠'), ("ni", '∋'), ("njcy", 'њ'), ("nldr", '‥'), ("not", '¬'),
    ("notin", '∉'), ("nsub", '⊄'), ("ntilde", 'ñ'), ("nu", 'ν'), ("num", '#'), ("numero", '№'), ("oacute", 'ó'),
    ("ocirc", 'ô'), ("ocy", 'о'), ("odblac", 'ő'), ("oelig", 'œ'), ("ograve", 'ò'), ("ohm", 'Ω'), ("oline", '‾'),
    ("omacr", 'ō'), ("omega", 'ω'), ("omicron", 'ο'), ("oplus", '⊕'), ("or", '∨'), ("ordf", 'ª'), ("ordm", 'º'),
    ("oslash", 'ø'), ("otilde", 'õ'), ("otimes", '⊗'), ("ouml", 'ö'), ("para", '¶'), ("part", '∂'), ("pcy", 'п'),
    ("percnt", '%'), ("period", '.'), ("permil", '‰'), ("perp", '⊥'), ("pertenk", '‱'), ("phi", 'φ'), ("phiv", 'ϕ'),
    ("pi", 'π'), ("piv", 'ϖ'), ("plus", '+'), ("plusmn", '±'), ("pm", '±'), ("pound", '£'), ("prime", '′'),
    ("prod", '∏'), ("prop", '∝'), ("psi", 'ψ'), ("qprime", '⁗'), ("quest", '?'), ("quot", '"'), ("rArr", '⇒'),
    ("racute", 'ŕ'), ("radic", '√'), ("rang", '〉'), ("raquo", '»'), ("rarr", '→'), ("rbrace", '}'), ("rbrack", ']'),
    ("rcaron", 'ř'), ("rcedil", 'ŗ'), ("rceil", '⌉'), ("rcub", '}'), ("rcy", 'р'), ("rdquo", '”'), ("rdquor", '”'),
    ("real", 'ℜ'), ("reg", '®'), ("rfloor", '⌋'), ("rho", 'ρ'), ("rhov", 'ϱ'), ("rightarrow", '→'),
    ("rlm", '\u{200f}'), ("rpar", ')'), ("rsaquo", '›'), ("rsqb", ']'), ("rsquo", '’'), ("rsquor", '’'),
    ("sacute", 'ś'), ("sbquo", '‚'), ("scaron", 'š'), ("scedil", 'ş'), ("scirc", 'ŝ'), ("scy", 'с'), ("sdot", '⋅'),
    ("sect", '§'), ("semi", ';'), ("shchcy", 'щ'), ("shcy", 'ш'), ("shy", '\u{ad}'), ("sigma", 'σ'), ("sigmaf", 'ς'),
    ("sigmav", 'ς'), ("sim", '∼'), ("slarr", '←'), ("softcy", 'ь'), ("sol", '/'), ("spades", '♠'), ("srarr", '→'),
    ("straightphi", 'ϕ'), ("strns", '¯'), ("sub", '⊂'), ("sube", '⊆'), ("sum", '∑'), ("sup", '⊃'), ("sup1", '¹'),
    ("sup2", '²'), ("sup3", '³'), ("supe", '⊇'), ("szlig", 'ß'), ("tau", 'τ'), ("tcaron", 'ť'), ("tcedil", 'ţ'),
    ("tcy", 'т'), ("there4", '∴'), ("theta", 'θ'), ("thetasym", 'ϑ'), ("thetav", 'ϑ'), ("thinsp", '\u{2009}'),
    ("thorn", 'þ'), ("tilde", '˜'), ("times", '×'), ("tprime", '‴'), ("trade", '™'), ("tscy", 'ц'), ("tshcy", 'ћ'),
    ("tstrok", 'ŧ'), ("uArr", '⇑'), ("uacute", 'ú'), ("uarr", '↑'), ("ubrcy", 'ў'), ("ubreve", 'ŭ'), ("ucirc", 'û'),
    ("ucy", 'у'), ("udblac", 'ű'), ("ugrave", 'ù'), ("umacr", 'ū'), ("uml", '¨'), ("uogon", 'ų'), ("upsi", 'υ'),
    ("upsih", 'ϒ'), ("upsilon", 'υ'), ("uring", 'ů'), ("utilde", 'ũ'), ("uuml", 'ü'), ("varepsilon", 'ϵ'),
    ("varkappa", 'ϰ'), ("varphi", 'ϕ'), ("varpi", 'ϖ'), ("varrho", 'ϱ'), ("varsigma", 'ς'), ("vartheta", 'ϑ'),
    ("vcy", 'в'), ("verbar", '|'), ("vert", '|'), ("wcirc", 'ŵ'), ("weierp", '℘'), ("xi", 'ξ'), ("yacute", 'ý'),
    ("yacy", 'я'), ("ycirc", 'ŷ'), ("ycy", 'ы'), ("yen", '¥'), ("yicy", 'ї'), ("yucy", 'ю'), ("yuml", 'ÿ'),
    ("zacute", 'ź'), ("zcaron", 'ž'), ("zcy", 'з'), ("zdot", 'ż'), ("zeta", 'ζ'), ("zhcy", 'ж'), ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0) && UNENDED.is_sorted_by(|a, b| a < b));
        assert!(NAMES.iter().all(|(name, _)| name.len() <= NAME_MAX));
        for (name, character) in [("euro", '€'), ("Auml", 'Ä'), ("hellip", '…'), ("scaron", 'š'), ("apos", '\'')]
        {
            assert_eq!(named(name), Some(character));
        }
        assert_eq!(named("nothing"), None);
        assert_eq!(unended("eacute x"), Some(('é', 6)));
        assert_eq!(unended("notit"), Some(('¬', 3)));
        assert!(UNENDED.iter().all(|name| named(name).is_some()));
        assert_eq!(unended("euro x"), None);
    }
}
