//! Words and rows of keys that are common in passwords outside English. The estimator has lists of the English ones.
//!
//! The words were collected for this library: "password", "secret", "welcome", "hello" and "I love you", as a speaker would
//! type them. ASCII words have at least five letters, because shorter ones often occur in random passwords by chance.

/// Words, grouped by language.
pub(super) const WORDS: &[&[&str]] = &[
    // German
    &["passwort", "kennwort", "geheim", "willkommen", "hallo", "schatz", "liebling", "ichliebedich"],
    // Dutch
    &["wachtwoord", "welkom", "ikhouvanjou"],
    // Swedish, Norwegian, Danish, Icelandic
    &["lösenord", "hemlig", "välkommen", "passord", "adgangskode", "kodeord", "velkommen", "hemmelig", "lykilorð"],
    // Finnish, Estonian
    &["salasana", "salainen", "tervetuloa", "parool", "salasõna"],
    // Latvian, Lithuanian
    &["parole", "slaptažodis"],
    // French
    &["motdepasse", "bonjour", "bienvenue", "jetaime", "doudou", "chouchou"],
    // Spanish, Catalan, Galician, Basque
    &["contraseña", "contrasenia", "contrasenya", "contrasinal", "pasahitza", "clave", "secreto"],
    &["bienvenido", "tequiero", "teamo"],
    // Portuguese
    &["senha", "palavrapasse", "palavrachave", "segredo", "bemvindo", "euteamo"],
    // Italian, Romanian, Albanian
    &["parola", "parolachiave", "segreto", "benvenuto", "tiamo", "teiubesc", "fjalëkalimi"],
    // Polish
    &["hasło", "tajne", "witaj", "kochamcie", "polska"],
    // Czech, Slovak
    &["heslo", "tajne", "vitejte", "vitajte", "milujite", "milujitě"],
    // Slovenian, Croatian, Bosnian, Serbian
    &["geslo", "lozinka", "zaporka", "šifra", "dobrodošli", "volimte"],
    // Hungarian
    &["jelszó", "titkos", "szeretlek", "üdvözlöm"],
    // Turkish
    &["şifre", "parolam", "hoşgeldiniz", "seniseviyorum"],
    // Indonesian, Malay, Vietnamese, Tagalog, Swahili
    &[
        "katasandi",
        "sandi",
        "katalaluan",
        "rahasia",
        "sayang",
        "matkhau",
        "mậtkhẩu",
        "anhyeuem",
        "mahalkita",
        "nenosiri",
    ],
    // Russian, Ukrainian, Belarusian; transliterated; and typed on a Latin keyboard layout
    &["пароль", "секрет", "привет", "любовь", "ятебялюблю", "люблютебя", "привіт", "любов", "прывітанне"],
    &["parol", "privet", "lubov", "lyubov", "ljubov", "gfhjkm", "ghbdtn", "k.,jdm"],
    // Bulgarian, Serbian, Macedonian
    &["парола", "лозинка", "шифра", "обичамте"],
    // Greek
    &["κωδικός", "συνθηματικό", "kodikos", "σαγαπώ"],
    // Hebrew, Arabic, Persian, Urdu
    &["סיסמה", "סיסמא", "كلمةالسر", "كلمةالمرور", "رمزعبور", "گذرواژه", "پاسورڈ"],
    // Hindi, Thai, Armenian, Georgian
    &["पासवर्ड", "รหัสผ่าน", "գաղտնաբառ", "პაროლი"],
    // Chinese
    &["密码", "密碼", "口令", "我爱你", "我愛你"],
    // Japanese
    &["パスワード", "ぱすわーど", "暗証番号", "愛してる", "aishiteru"],
    // Korean; and typed on a Latin keyboard layout
    &["비밀번호", "암호", "패스워드", "사랑해", "qlalfqjsgh", "dkagh", "tkfkdgo"],
    // Digit row without shift: French, Czech
    &["&é\"'(", "-è_çà", "+ěščř", "žýáíé"],
];

/// Rows of keys from left to right. The estimator covers the English layout and Dvorak.
pub(super) const ROWS: &[&str] = &[
    // German, Czech and others: QWERTZ
    "qwertzuiopü",
    "asdfghjklöä",
    "yxcvbnm",
    // French: AZERTY; bépo
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "bépoèvdljz",
    "auiectsrnm",
    // Colemak
    "qwfpgjluy",
    "arstdhneio",
    // Turkish: Q and F
    "qwertyuıopğü",
    "asdfghjklşi",
    "fgğıodrnhpqw",
    "uieaütkmlyş",
    // Russian, Ukrainian
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
    "йцукенгшщзхї",
    "фівапролджє",
    // Bulgarian: BDS and phonetic
    "уеишщксдзц",
    "ьяаожгтнвмч",
    "юйъэфхпрлб",
    "явертъуиопшщ",
    "асдфгхйкл",
    // Serbian
    "љњертзуиопшђ",
    "асдфгхјклчћ",
    // Greek
    "ςερτυθιοπ",
    "ασδφγηξκλ",
    "ζχψωβνμ",
    // Hebrew
    "קראטוןםפ",
    "שדגכעיחלךף",
    "זסבהנמצתץ",
    // Arabic, Persian
    "ضصثقفغعهخحجد",
    "شسيبلاتنمكط",
    "شسیبلاتنمکگ",
    // Korean
    "ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔ",
    "ㅁㄴㅇㄹㅎㅗㅓㅏㅣ",
    "ㅋㅌㅊㅍㅠㅜㅡ",
    // Japanese kana
    "たていすかんなにらせ",
    "ちとしはきくまのりれけむ",
    "つさそひこみもねるめ",
    // Thai
    "ๆไำพะัีรนยบล",
    "ฟหกดเ้่าสวง",
];
