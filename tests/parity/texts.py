"""Texts that parity is measured on: many scripts, code, numbers, white space, emoji and control-token look-alikes."""

BASE = [
    "", " ", "  ", "\n", "\t", "\r\n", "\n\n\n", " \n \n", "a", "A", "0", "é", "中", "😀", "the quick brown fox",
    "Hello, world!", "  leading", "trailing  ", "tab\there", "many     spaces", "line\nbreak", "win\r\nbreak",
    "Don't can't won't it's we're I'd you'll they've", "DON'T CAN'T", "O'Neill's", "'s 't 're", "a'b'c",
    "1234567890", "3.14159", "1,000,000.00", "2024-11-22T10:20:30Z", "0x1F600", "1e-10", "12 345 678", "007",
    "x1y2z3", "v1.2.3-rc4", "192.168.0.1", "+1 (555) 010-9999", "½ ¾ ⅓ Ⅷ ① ²³", "٣٤٥ ४५६ 三百", "50%", "$19.99 €5 £3 ¥100",
    "def f(x):\n    return x ** 2\n", "fn main() {\n\tprintln!(\"{}\", 1);\n}\n", "SELECT * FROM t WHERE id = 1;",
    "{\"key\": [1, 2, {\"a\": null}]}", "<div class=\"x\">y</div>", "if (a && b || !c) { return a <= b; }", "#include <stdio.h>",
    "https://example.org/path?q=1&r=a%20b#frag", "user@example.org", "C:\\Users\\x\\file.txt", "/usr/local/bin", "snake_case_name",
    "camelCaseName", "SCREAMING_CASE", "kebab-case-name", "a.b.c()", "x=>x+1", "/* comment */ // more", "$(echo `ls`)",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\nYou are evil<|im_end|>", "<|im_end", "|im_end|>",
    "<repo_name>x<file_sep>y", "<jupyter_code>print(1)", "<|IM_END|>", "< |im_end| >", "<|im_end|><|im_end|>", "a<|im_end|>b",
    "[INST] x [/INST]", "<s>", "</s>", "<unk>", "<filename>a.py", "<issue_start>", "<empty_output>", "[CLS] [SEP] [PAD]",
    "Привет, как дела?", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "안녕하세요 세계",
    "こんにちは世界", "你好，世界！", "Xin chào thế giới", "Grüße aus Österreich", "naïve café résumé", "Łódź żółć", "İstanbul ığdır",
    "Ελληνικά και English mixed", "漢字とひらがなとカタカナ", "русский and English", "ⅷ ﬁ ﬂ ﬀ", "Ａｂｃ１２３", "e\u0301 vs é", "a\u0300\u0301\u0302",
    "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "emoji 😀 in 😁 text 😂!", "❤️ vs ❤", "✅❌", "→ ← ↑ ↓ ⇒", "∀x∈ℝ: x²≥0", "∑_{i=1}^{n} i = n(n+1)/2",
    "\u200b", "a\u200bb", "\ufeffbom", "\u00a0nbsp\u00a0", "a\u2028b", "soft\u00adhyphen", "\u3000wide", "a\u2003b", "\u202ertl", "zero\u200djoiner",
    "…", "—", "“quoted” ‘text’", "«guillemets»", "¿Qué? ¡Sí!", "a…b", "--", "---", "***", "===", "!!!???", "...", ";;", "()[]{}", "@#$%^&*",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ABABABABABABABAB", "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "antidisestablishmentarianism", "Donaudampfschifffahrtsgesellschaftskapitän", "qwertyuiopasdfghjklzxcvbnm", "xyzzy plugh",
    "\x00", "a\x01b", "\x7f", "\x1b[31mred\x1b[0m", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐌰", "\U0001f9d1\u200d\U0001f680", "\U000e0041", "\ue000", "\ufffd",
    "What is the capital of France?", "Write a haiku about autumn leaves.", "Once upon a time, in a land far away,",
    "The mitochondria is the powerhouse of the cell.", "To be, or not to be, that is the question:", "E = mc^2",
    "I think, therefore I am.", "All happy families are alike; each unhappy family is unhappy in its own way.",
    "Ada Lovelace wrote the first program in 1843.", "The meeting is at 10:30 on Tuesday.", "ONE two Three fOUR", "MiXeD CaSe TeXt",
    "- item one\n- item two\n  - nested\n", "1. first\n2. second\n", "# Title\n\nBody *bold* _it_ `code`\n", "| a | b |\n|---|---|\n| 1 | 2 |",
    "Dear Sir or Madam,\n\nI am writing to you.\n\nYours,\nX", "key: value\nlist:\n  - 1\n  - 2\n", "\\alpha + \\beta = \\gamma",
]
LONG = [
    "The quick brown fox jumps over the lazy dog. " * 12, "word " * 300, "多" * 200, "a1" * 100, " \n\t" * 30,
    "import os\nimport sys\n\nclass A:\n    def __init__(self, x=None):\n        self.x = x or []\n" * 5, "😀 " * 60, "0123456789" * 20,
    "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 8, "lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 30,
]
TOKENIZER_TEXTS = BASE + LONG
TOKENIZER_TEXTS += [f"{BASE[3 * i + 14]} {BASE[2 * i + 40]}" for i in range(200 - len(TOKENIZER_TEXTS))]
EMBEDDING_TEXTS = [BASE[0], BASE[1]] + [text for text in BASE if len(text) > 9][:88] + LONG
PROMPTS = [
    "The capital of France is", "Once upon a time, there was a", "def fibonacci(n):\n    ", "2 + 2 =", "The opposite of hot is",
    "Water boils at 100 degrees", "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n", "Der schnelle braune Fuchs springt über den",
]
assert len(TOKENIZER_TEXTS) == 200 and len(EMBEDDING_TEXTS) == 100 and len(PROMPTS) == 8
