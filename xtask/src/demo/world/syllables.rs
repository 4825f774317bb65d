//! The parts that names are made of. All of it is invented.

/// Three lists of syllables; a word takes one from each.
#[derive(Debug)]
pub(super) struct Syllables {
    starts: &'static [&'static str],
    middles: &'static [&'static str],
    ends: &'static [&'static str],
}

impl Syllables {
    /// Every word the lists can make, in table order.
    pub(super) fn combinations(&self) -> Vec<String> {
        let mut words = Vec::with_capacity(self.starts.len() * self.middles.len() * self.ends.len());
        for start in self.starts {
            for middle in self.middles {
                words.extend(self.ends.iter().map(|end| format!("{start}{middle}{end}")));
            }
        }
        words
    }
}

/// Surnames, such as "Drelvasko". The kinds share no ending, so that a name tells what it names.
pub(super) const SURNAME_SYLLABLES: Syllables = Syllables {
    starts: &[
        "Bra", "Dre", "Fe", "Gru", "Ho", "Jy", "Kri", "Lu", "Mu", "Ne", "Plo", "Qui", "Ri", "Ske", "Sle",
        "Thra", "Tu", "U", "Va", "Wre", "Ya", "Zi", "O", "E",
    ],
    middles: &[
        "lva", "mmo", "nde", "rru", "ssi", "tto", "vve", "zza", "ndri", "lsho", "kka", "mbu", "ppe", "rthi",
        "shta", "lgo",
    ],
    ends: &[
        "sko", "rix", "vel", "dath", "lush", "mek", "thal", "quav", "bruv", "fent", "gosh", "noth", "zul",
        "wep",
    ],
};

/// Towns, such as "Dwelivpool".
pub(super) const TOWN_SYLLABLES: Syllables = Syllables {
    starts: &[
        "Olv", "Bren", "Cor", "Dwel", "Esk", "Farn", "Glos", "Hesk", "Ilm", "Jas", "Kerr", "Lod", "Mell",
        "Nar", "Oth", "Pren", "Quar", "Rusk", "Stel", "Tam", "Ulm", "Vor", "Wen", "Yar",
    ],
    middles: &["a", "e", "i", "o", "u", "an", "en", "est", "ir", "iv", "ol", "oss", "um", "ur"],
    ends: &["dun", "ness", "ford", "mouth", "stad", "grove", "pool", "wyck", "keep", "tarn"],
};

/// The own words of companies, such as "Zensinex".
pub(super) const COMPANY_SYLLABLES: Syllables = Syllables {
    starts: &[
        "Axo", "By", "Cy", "De", "Evo", "Fo", "Gly", "Hy", "Ixo", "Ju", "Ky", "Ly", "My", "Ny", "Oxy", "Py",
        "Qua", "Ry", "Sy", "Ty", "Uvo", "Vy", "Xa", "Ze",
    ],
    middles: &[
        "bra", "cto", "dri", "flu", "gna", "lde", "mpo", "nsi", "pta", "rve", "sto", "tri", "vla", "zmo",
    ],
    ends: &["x", "nix", "tron", "core", "dyne", "lex", "plex", "max", "nex", "zon", "via", "cor"],
};

/// Given names, each shared by about six people.
pub(super) const GIVEN_NAMES: [&str; 50] = [
    "Avrin", "Belshe", "Corvu", "Dalmek", "Elthi", "Fendro", "Gavuri", "Hulmet", "Ithra", "Jorvet", "Kelmi",
    "Lursa", "Mavrek", "Nelthu", "Orvik", "Pelmu", "Quenda", "Rethik", "Sulvi", "Tamrek", "Ulfani", "Vathri",
    "Wendrik", "Xanvu", "Yelmo", "Zorvi", "Adrusk", "Brenvi", "Cethra", "Dorvel", "Ephmi", "Falthi",
    "Grethu", "Hesvar", "Imrusk", "Jethma", "Korvash", "Lethiv", "Mirvek", "Nuvresh", "Othmi", "Pruvek",
    "Rilvash", "Sethmur", "Tuvrin", "Ulvesh", "Vremi", "Wulthi", "Yovresh", "Zelvur",
];

/// First words of company names.
pub(super) const COMPANY_PREFIXES: [&str; 6] = ["House", "Studio", "Group", "Union", "Bureau", "Workshop"];
