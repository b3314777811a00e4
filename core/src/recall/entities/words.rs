//! Lists of words that tell what begins with a capital only because it begins a sentence, and what sort of thing a name
//! is of. All in order, all small letters.

use super::Kind;

/// Whether `word` is in `list`, which is in order.
pub(super) fn among(list: &[&str], word: &str) -> bool {
    list.binary_search(&word).is_ok()
}

/// Words that are no name when they begin a sentence, nor the first word of one.
#[rustfmt::skip]
pub(super) const COMMON: &[&str] = &[
    "a", "aboard", "about", "above", "absolutely", "access", "according", "across", "actor", "actress", "actually",
    "add", "added", "additional", "additionally", "after", "afterwards", "again", "against", "ago", "ah", "all",
    "almost", "along", "alongside", "already", "also", "although", "always", "am", "amazing", "amid", "amidst",
    "among", "amongst", "an", "ancient", "and", "another", "any", "anybody", "anyone", "anything", "anyway",
    "anyways", "apart", "apparently", "appointed", "approximately", "archive", "are", "around", "as", "aside", "ask",
    "assuming", "at", "author", "authorities", "available", "awarded", "away", "awesome", "based", "basically",
    "because", "become", "becoming", "been", "before", "behind", "being", "below", "beneath", "beside", "besides",
    "best", "better", "between", "beyond", "billion", "bless", "book", "bordered", "born", "both", "bring", "built",
    "but", "buy", "by", "bye", "call", "called", "can", "can't", "cannot", "certain", "certainly", "check",
    "children", "citizens", "clearly", "collectively", "come", "coming", "common", "compared", "composed",
    "concerning", "congrats", "congratulations", "consequently", "considered", "considering", "construction",
    "contains", "contrary", "control", "cool", "could", "couldn't", "count", "countries", "created", "critics",
    "currently", "damn", "data", "day", "days", "daytime", "dear", "decibels", "department", "depending", "designed",
    "despite", "did", "didn't", "died", "different", "directed", "do", "does", "doesn't", "doing", "don't", "done",
    "dozen", "dozens", "due", "during", "each", "earlier", "early", "educated", "education", "eight", "either",
    "elected", "election", "elections", "eleven", "else", "elsewhere", "enjoy", "enough", "especially", "essentially",
    "established", "even", "eventhough", "eventually", "ever", "every", "everybody", "everyone", "everything",
    "everywhere", "evidence", "exactly", "examples", "excellent", "except", "excited", "exciting", "excluding",
    "experts", "fair", "famous", "fans", "fantastic", "far", "featured", "features", "featuring", "few", "fewer",
    "fifteen", "fifth", "fifty", "filmed", "filming", "finally", "find", "fine", "first", "firstly", "five",
    "following", "follows", "for", "formed", "former", "formerly", "fortunately", "forty", "found", "founded", "four",
    "fourth", "frankly", "from", "further", "furthermore", "gee", "general", "generally", "get", "getting", "give",
    "given", "gives", "giving", "glad", "go", "god", "going", "gonna", "good", "gosh", "got", "gotcha", "government",
    "great", "ha", "had", "hadn't", "haha", "half", "happy", "hard", "hardly", "has", "hasn't", "have", "haven't",
    "having", "he", "he'd", "he'll", "he's", "headquarters", "hello", "help", "hence", "her", "here", "here's",
    "hers", "herself", "hey", "hi", "high", "higher", "highest", "him", "himself", "his", "historians",
    "historically", "hmm", "home", "hope", "hopefully", "how", "how's", "however", "huge", "hundred", "hundreds",
    "hurricanes", "i", "i'd", "i'll", "i'm", "i've", "ice", "if", "imagine", "in", "included", "includes",
    "including", "indeed", "individually", "influenced", "initially", "inside", "inspired", "instead", "intended",
    "interesting", "interestingly", "international", "into", "is", "isn't", "it", "it'd", "it'll", "it's", "its",
    "itself", "jointly", "just", "keep", "kind", "know", "known", "language", "large", "larger", "largest", "last",
    "lastly", "late", "later", "latter", "law", "learn", "least", "left", "less", "let", "let's", "like", "likewise",
    "little", "local", "located", "location", "locations", "lol", "long", "look", "looking", "looks", "lot", "lots",
    "love", "loved", "loving", "low", "lower", "made", "main", "mainly", "major", "make", "makes", "making", "man",
    "many", "married", "may", "maybe", "me", "mean", "meanwhile", "member", "members", "membership", "men", "met",
    "might", "million", "millions", "mine", "modern", "more", "moreover", "morning", "most", "mostly", "much",
    "music", "must", "mustn't", "my", "myself", "nah", "named", "namely", "national", "near", "nearby", "nearly",
    "need", "neither", "never", "nevertheless", "new", "news", "next", "nice", "night", "nine", "no", "nobody",
    "none", "nonetheless", "nope", "nor", "normally", "not", "notable", "notably", "note", "noted", "notes",
    "nothing", "notwithstanding", "now", "nowadays", "nowhere", "numerous", "of", "off", "officially", "officials",
    "often", "oh", "ok", "okay", "old", "older", "oldest", "omg", "on", "once", "one", "ones", "only", "onto",
    "opened", "or", "order", "originally", "other", "others", "otherwise", "ought", "our", "ours", "ourselves", "out",
    "outside", "over", "overall", "own", "part", "particularly", "partly", "past", "people", "per", "perfect",
    "performed", "perhaps", "person", "place", "play", "players", "please", "plus", "population", "possible",
    "possibly", "presently", "presumably", "previous", "previously", "primarily", "probably", "produced",
    "production", "products", "proud", "published", "put", "quite", "rain", "raised", "rather", "read", "really",
    "recent", "recently", "recorded", "records", "regarding", "regardless", "release", "released", "remember",
    "reports", "research", "researchers", "residents", "respectively", "results", "right", "roughly", "runner",
    "said", "sales", "same", "saw", "say", "says", "scholars", "scientists", "season", "seasons", "seats", "second",
    "secondly", "see", "seeing", "seems", "seen", "set", "seven", "several", "shall", "she", "she'd", "she'll",
    "she's", "short", "shot", "should", "shouldn't", "similar", "similarly", "simply", "since", "singer", "situated",
    "six", "small", "smaller", "smallest", "snow", "snowfall", "so", "some", "somebody", "someday", "somehow",
    "someone", "something", "sometimes", "somewhat", "somewhere", "songwriter", "soon", "sorry", "sounds", "speaking",
    "specifically", "starring", "states", "stay", "still", "stores", "strictly", "students", "studies",
    "subsequently", "such", "supposedly", "sure", "surely", "surprisingly", "surrounded", "sweet", "take", "taken",
    "taking", "talk", "teachers", "tell", "ten", "thank", "thankfully", "thanks", "that", "that'd", "that'll",
    "that's", "the", "their", "theirs", "them", "themselves", "then", "there", "there'll", "there's", "thereafter",
    "therefore", "thereupon", "these", "they", "they'd", "they'll", "they're", "they've", "thing", "things", "think",
    "third", "thirdly", "thirteen", "thirty", "this", "those", "though", "thousand", "thousands", "three", "through",
    "throughout", "thus", "till", "time", "times", "to", "today", "together", "tomorrow", "tonight", "too", "totally",
    "toward", "towards", "traditional", "traditionally", "trained", "treaties", "tried", "true", "truly", "try",
    "trying", "twelve", "twenty", "twice", "two", "typically", "ugh", "ultimately", "um", "under", "underneath",
    "unfortunately", "unless", "unlike", "until", "unusually", "up", "upon", "us", "use", "used", "using", "usually",
    "various", "versus", "very", "via", "visitors", "volts", "votes", "voting", "wait", "want", "wanted", "was",
    "wasn't", "watch", "waterfall", "way", "we", "we'd", "we'll", "we're", "we've", "website", "weird", "welcome",
    "well", "went", "were", "weren't", "what", "what'd", "what're", "what's", "whatever", "when", "when's",
    "whenever", "where", "where's", "whereas", "wherever", "whether", "which", "whichever", "while", "whilst", "who",
    "who'll", "who's", "whoever", "whole", "whom", "whose", "why", "wide", "widely", "will", "winner", "wish", "with",
    "within", "without", "women", "won't", "wonder", "wonderful", "work", "workers", "working", "would", "wouldn't",
    "wow", "written", "yay", "yea", "yeah", "year", "years", "yep", "yes", "yesterday", "yet", "you", "you'd",
    "you'll", "you're", "you've", "young", "your", "yours", "yourself", "yup", "zero",
];

/// Small words within a name: `University of the Arts`, `Vincent van Gogh`.
pub(super) const WITHIN: &[&str] = &[
    "af", "al", "av", "bin", "d'", "da", "das", "de", "degli", "del", "della", "der", "des", "di", "do", "dos", "du",
    "e", "el", "ibn", "la", "las", "le", "les", "los", "of", "ter", "und", "van", "von", "y", "zu", "zum", "zur",
];

/// Last or first words of the name of an organisation.
#[rustfmt::skip]
const ORGANISATIONS: &[&str] = &[
    "academy", "administration", "agency", "airlines", "airways", "alliance", "army", "assembly", "association",
    "authority", "band", "bank", "board", "brothers", "bureau", "center", "centre", "channel", "church", "club", "co",
    "college", "commission", "committee", "community", "company", "conference", "congress", "consortium",
    "cooperative", "corp", "corporation", "council", "court", "department", "enterprises", "entertainment",
    "federation", "films", "forces", "foundation", "fund", "gmbh", "government", "group", "guild", "holdings",
    "hospital", "inc", "industries", "institute", "institution", "journal", "laboratories", "laboratory", "labs",
    "league", "library", "limited", "llc", "ltd", "magazine", "media", "ministry", "motors", "museum", "navy",
    "network", "news", "office", "orchestra", "organisation", "organization", "parliament", "partners", "party",
    "pictures", "police", "post", "press", "productions", "publishers", "publishing", "radio", "records", "school",
    "senate", "services", "society", "studios", "systems", "team", "technologies", "television", "times", "tribune",
    "trust", "union", "university",
];

/// Last or first words of the name of a place.
#[rustfmt::skip]
const PLACES: &[&str] = &[
    "abbey", "airport", "archipelago", "avenue", "bay", "beach", "borough", "boulevard", "bridge", "canal", "canyon",
    "castle", "cathedral", "city", "coast", "county", "creek", "desert", "district", "falls", "forest", "fort",
    "gulf", "harbor", "harbour", "heights", "hill", "hills", "island", "islands", "isle", "isles", "kingdom", "lake",
    "lane", "mount", "mountain", "mountains", "municipality", "ocean", "palace", "park", "peninsula", "plateau",
    "port", "prefecture", "province", "region", "reservoir", "river", "road", "sea", "square", "stadium", "state",
    "station", "strait", "street", "temple", "territory", "tower", "town", "township", "valley", "village",
];

/// Countries, and cities and parts of countries that are often spoken of.
#[rustfmt::skip]
const KNOWN_PLACES: &[&str] = &[
    "abu dhabi", "accra", "addis ababa", "adelaide", "afghanistan", "africa", "alabama", "alaska", "albania",
    "alberta", "alexandria", "algeria", "algiers", "america", "amsterdam", "anchorage", "andalusia", "andorra",
    "angola", "ankara", "antarctica", "argentina", "arizona", "arkansas", "armenia", "asia", "athens", "atlanta",
    "auckland", "austin", "australia", "austria", "azerbaijan", "baghdad", "bahamas", "bahrain", "balkans",
    "baltimore", "bangalore", "bangkok", "bangladesh", "barbados", "barcelona", "basel", "bavaria", "beijing",
    "beirut", "belarus", "belfast", "belgium", "belgrade", "belize", "bengal", "benin", "berlin", "bern", "bhutan",
    "birmingham", "bogota", "bolivia", "bologna", "bombay", "bordeaux", "bosnia", "boston", "botswana", "brasilia",
    "brazil", "brisbane", "bristol", "britain", "british columbia", "brittany", "bronx", "brooklyn", "brunei",
    "brussels", "bucharest", "budapest", "buenos aires", "bulgaria", "burma", "burundi", "cairo", "calcutta",
    "calgary", "california", "cambodia", "cambridge", "cameroon", "canada", "canberra", "cape town", "caracas",
    "cardiff", "caribbean", "casablanca", "catalonia", "central america", "chad", "charlotte", "chennai", "chicago",
    "chile", "china", "cincinnati", "cleveland", "cologne", "colombia", "colombo", "colorado", "columbus", "congo",
    "connecticut", "copenhagen", "corsica", "costa rica", "crimea", "croatia", "cuba", "cyprus", "czech republic",
    "dakar", "dallas", "damascus", "delaware", "delhi", "denmark", "denver", "detroit", "dhaka", "djibouti",
    "dominica", "dominican republic", "dresden", "dubai", "dublin", "ecuador", "edinburgh", "edmonton", "egypt",
    "el salvador", "england", "eritrea", "estonia", "ethiopia", "europe", "fiji", "finland", "florence", "florida",
    "france", "frankfurt", "gabon", "gambia", "geneva", "genoa", "georgia", "germany", "ghana", "glasgow",
    "great britain", "greece", "greenland", "grenada", "guangzhou", "guatemala", "guinea", "gujarat", "guyana",
    "haiti", "halifax", "hamburg", "hanoi", "havana", "hawaii", "helsinki", "hollywood", "honduras", "hong kong",
    "honolulu", "houston", "hungary", "hyderabad", "iceland", "idaho", "illinois", "india", "indiana", "indianapolis",
    "indonesia", "iowa", "iran", "iraq", "ireland", "islamabad", "israel", "istanbul", "italy", "ivory coast",
    "jakarta", "jamaica", "japan", "jerusalem", "johannesburg", "jordan", "kansas", "kansas city", "karachi",
    "karnataka", "kashmir", "kathmandu", "kazakhstan", "kentucky", "kenya", "kerala", "kiev", "kolkata", "kosovo",
    "krakow", "kuala lumpur", "kuwait", "kyiv", "kyoto", "kyrgyzstan", "lagos", "lahore", "laos", "las vegas",
    "latin america", "latvia", "lebanon", "leeds", "leipzig", "lesotho", "liberia", "libya", "liechtenstein", "lima",
    "lisbon", "lithuania", "liverpool", "lombardy", "london", "los angeles", "louisiana", "luxembourg", "lyon",
    "macau", "macedonia", "madagascar", "madrid", "maharashtra", "maine", "malawi", "malaysia", "maldives", "mali",
    "malta", "manchester", "manhattan", "manila", "manitoba", "marseille", "maryland", "massachusetts", "mauritania",
    "mauritius", "mecca", "melbourne", "memphis", "mexico", "mexico city", "miami", "michigan", "middle east",
    "milan", "milwaukee", "minneapolis", "minnesota", "minsk", "mississippi", "missouri", "moldova", "monaco",
    "mongolia", "montana", "montenegro", "montevideo", "montreal", "morocco", "moscow", "mozambique", "mumbai",
    "munich", "myanmar", "nagoya", "nairobi", "namibia", "naples", "nashville", "nebraska", "nepal", "netherlands",
    "nevada", "new brunswick", "new delhi", "new hampshire", "new jersey", "new mexico", "new orleans",
    "new south wales", "new york", "new york city", "new zealand", "newfoundland", "nicaragua", "nice", "niger",
    "nigeria", "normandy", "north america", "north carolina", "north dakota", "north korea", "northern ireland",
    "norway", "nova scotia", "ohio", "oklahoma", "oman", "ontario", "oregon", "orlando", "osaka", "oslo", "ottawa",
    "oxford", "pakistan", "palermo", "palestine", "panama", "paraguay", "paris", "pennsylvania", "perth", "peru",
    "philadelphia", "philippines", "phoenix", "pittsburgh", "poland", "portland", "porto", "portugal", "prague",
    "pretoria", "provence", "prussia", "puerto rico", "punjab", "qatar", "quebec", "queens", "queensland", "quito",
    "rajasthan", "reykjavik", "rhode island", "riga", "rio de janeiro", "riyadh", "romania", "rome", "russia",
    "rwanda", "saigon", "saint petersburg", "salt lake city", "samoa", "san antonio", "san diego", "san francisco",
    "san jose", "santiago", "sao paulo", "sarajevo", "sardinia", "saskatchewan", "saudi arabia", "saxony",
    "scandinavia", "scotland", "seattle", "senegal", "seoul", "serbia", "seville", "shanghai", "shenzhen", "siberia",
    "sicily", "sierra leone", "singapore", "slovakia", "slovenia", "sofia", "somalia", "south africa",
    "south america", "south carolina", "south dakota", "south korea", "soviet union", "spain", "sri lanka",
    "st. louis", "st. petersburg", "stockholm", "strasbourg", "stuttgart", "sudan", "suriname", "swaziland", "sweden",
    "switzerland", "sydney", "syria", "são paulo", "taipei", "taiwan", "tajikistan", "tallinn", "tamil nadu", "tampa",
    "tanzania", "tasmania", "tehran", "tel aviv", "tennessee", "texas", "thailand", "tibet", "tirana", "togo",
    "tokyo", "tonga", "toronto", "toulouse", "trinidad", "tunis", "tunisia", "turin", "turkey", "turkmenistan",
    "tuscany", "u.k", "u.s", "u.s.a", "uganda", "uk", "ukraine", "united arab emirates", "united kingdom",
    "united states", "uruguay", "us", "usa", "utah", "uzbekistan", "valencia", "vancouver", "vatican city",
    "venezuela", "venice", "vermont", "vienna", "vietnam", "vilnius", "virginia", "wales", "warsaw", "washington",
    "washington d.c", "wellington", "west virginia", "winnipeg", "wisconsin", "wyoming", "yemen", "yugoslavia",
    "zagreb", "zambia", "zimbabwe", "zurich",
];

/// First names that are often given.
#[rustfmt::skip]
const FIRST_NAMES: &[&str] = &[
    "aaron", "abdul", "abigail", "abraham", "adam", "adele", "adolf", "adrian", "agnes", "ahmed", "aidan", "alan",
    "albert", "alberto", "aldo", "alec", "alejandro", "alex", "alexander", "alexandra", "alexis", "alfonso", "alfred",
    "alfredo", "ali", "alice", "alicia", "alison", "allan", "allen", "allison", "alma", "amanda", "amelia", "amir",
    "amy", "ana", "anders", "andre", "andrea", "andreas", "andrei", "andrew", "andy", "angela", "angelina", "angelo",
    "anita", "anna", "anne", "annie", "anthony", "antoine", "anton", "antonio", "archibald", "aretha", "ariana",
    "arnold", "arthur", "audrey", "august", "augustus", "ava", "barack", "barbara", "barry", "beatrice", "ben",
    "benedict", "benjamin", "bernard", "bernhard", "bert", "betty", "bill", "billie", "billy", "björn", "blake",
    "bob", "bobby", "brad", "bradley", "brandon", "brenda", "brian", "bridget", "britney", "bruce", "bryan",
    "caitlin", "calvin", "cameron", "camille", "carl", "carla", "carlos", "carmen", "carol", "caroline", "carrie",
    "casey", "caspar", "catherine", "cecilia", "celine", "cesar", "charles", "charlie", "charlotte", "chester",
    "chloe", "chris", "christian", "christina", "christine", "christoph", "christopher", "cindy", "claire", "clara",
    "clarence", "clark", "claude", "claudia", "clement", "clifford", "clint", "clyde", "colin", "connie", "connor",
    "conrad", "craig", "crystal", "cynthia", "daisy", "dale", "dan", "daniel", "daniela", "danielle", "danny",
    "darren", "dave", "david", "dean", "deborah", "debra", "dennis", "derek", "diana", "diane", "diego", "dmitri",
    "dolores", "dominic", "don", "donald", "donna", "dora", "doris", "dorothy", "douglas", "drew", "dustin", "dwight",
    "dylan", "eddie", "edgar", "edith", "edmund", "eduardo", "edward", "edwin", "eileen", "elaine", "eleanor",
    "elena", "eli", "elias", "elijah", "elisabeth", "elizabeth", "ella", "ellen", "emil", "emily", "emma", "emmanuel",
    "enrique", "eric", "erica", "erik", "ernest", "ernst", "esther", "ethan", "eugene", "eva", "evan", "evelyn",
    "ezra", "felix", "ferdinand", "fernando", "fiona", "florence", "frances", "francesca", "francesco", "francis",
    "francisco", "frank", "franklin", "franz", "fred", "freddie", "frederick", "friedrich", "gabriel", "gareth",
    "gary", "gavin", "gene", "geoffrey", "george", "gerald", "gerard", "gilbert", "gina", "giovanni", "giuseppe",
    "gladys", "glen", "glenn", "gloria", "gordon", "grace", "graham", "grant", "greg", "gregory", "gretchen",
    "guillermo", "gustav", "guy", "hannah", "hans", "harold", "harriet", "harrison", "harry", "harvey", "heather",
    "hector", "heinrich", "helen", "henri", "henrik", "henry", "herbert", "herman", "hilary", "holly", "howard",
    "hubert", "hugh", "hugo", "humphrey", "ian", "ibrahim", "ida", "ignacio", "igor", "ingrid", "irene", "iris",
    "irving", "isaac", "isabel", "isabella", "ivan", "jack", "jackie", "jackson", "jacob", "jacqueline", "jacques",
    "jake", "james", "jamie", "jan", "jane", "janet", "janice", "jared", "jasmine", "jason", "javier", "jay", "jean",
    "jeff", "jefferson", "jeffrey", "jennifer", "jenny", "jeremy", "jerome", "jerry", "jesse", "jessica", "jesus",
    "jill", "jim", "jimmy", "joan", "joanna", "joaquin", "jodi", "joe", "joel", "johann", "johannes", "john",
    "johnny", "jolene", "jon", "jonas", "jonathan", "jordan", "jorge", "jose", "joseph", "josephine", "joshua",
    "josé", "joy", "joyce", "juan", "juanita", "judith", "judy", "julia", "julian", "julie", "juliet", "julius",
    "june", "justin", "karen", "karl", "kate", "katherine", "kathleen", "kathryn", "kathy", "katie", "keith", "kelly",
    "ken", "kenneth", "kevin", "kim", "kirk", "klaus", "kristen", "kurt", "kyle", "lance", "larry", "laura", "lauren",
    "laurence", "lawrence", "leah", "lee", "leo", "leon", "leonard", "leonardo", "leopold", "leroy", "leslie",
    "lester", "lewis", "liam", "lillian", "lily", "linda", "lisa", "logan", "lois", "lorenzo", "louis", "louise",
    "luca", "lucas", "lucia", "lucy", "luigi", "luis", "luke", "lydia", "lynn", "mabel", "madeleine", "madonna",
    "malcolm", "manuel", "marc", "marcel", "marco", "marcus", "margaret", "maria", "mariah", "marie", "marilyn",
    "mario", "marion", "mark", "marlon", "martha", "martin", "marvin", "mary", "mathew", "matilda", "matt", "matthew",
    "maureen", "maurice", "max", "maxwell", "megan", "mehmet", "melanie", "melissa", "melvin", "meryl", "michael",
    "michel", "michelle", "miguel", "mike", "mikhail", "milan", "mildred", "miles", "milton", "miranda", "miriam",
    "mohamed", "mohammad", "mohammed", "molly", "monica", "morgan", "morris", "moses", "muhammad", "nadia", "nancy",
    "naomi", "napoleon", "natalie", "natasha", "nate", "nathan", "nathaniel", "neil", "nelson", "nicholas", "nick",
    "nicolas", "nicole", "nigel", "nikita", "niklas", "nina", "noah", "noel", "nora", "norma", "norman", "olga",
    "oliver", "olivia", "omar", "oprah", "oscar", "otto", "owen", "pablo", "pamela", "pat", "patricia", "patrick",
    "paul", "paula", "pauline", "pedro", "peggy", "penelope", "percy", "perry", "pete", "peter", "phil", "philip",
    "philippe", "phillip", "phyllis", "pierre", "priscilla", "rachel", "rafael", "ralph", "ramon", "randall", "randy",
    "raphael", "raul", "ray", "raymond", "rebecca", "reginald", "rene", "ricardo", "richard", "rick", "ricky", "rita",
    "rob", "robert", "roberta", "roberto", "robin", "rodney", "roger", "roland", "roman", "ron", "ronald", "ronnie",
    "rosa", "rosalind", "rose", "ross", "roy", "ruby", "rudolf", "rudolph", "rupert", "russell", "ruth", "ryan",
    "sabrina", "sally", "salvador", "sam", "samantha", "samuel", "sandra", "santiago", "sara", "sarah", "sean",
    "sebastian", "selena", "serena", "sergei", "sergio", "seth", "shane", "shannon", "sharon", "shaun", "shawn",
    "sheila", "shirley", "sidney", "sigmund", "silvia", "simon", "simone", "sofia", "sonia", "sophia", "sophie",
    "stacy", "stan", "stanley", "stefan", "stella", "stephanie", "stephen", "steve", "steven", "stuart", "sue",
    "susan", "suzanne", "sylvia", "tamara", "tanya", "taylor", "ted", "teresa", "terry", "thelma", "theodore",
    "theresa", "thomas", "tiffany", "tim", "timothy", "tina", "todd", "tom", "tommy", "toni", "tony", "tracy",
    "travis", "trevor", "tyler", "ursula", "valerie", "vanessa", "vera", "vernon", "veronica", "vicki", "victor",
    "victoria", "vincent", "viola", "violet", "virginia", "vivian", "vladimir", "wallace", "walt", "walter", "wanda",
    "warren", "wayne", "wendy", "werner", "wilbur", "wilhelm", "will", "willem", "william", "willie", "winston",
    "wolfgang", "woodrow", "xavier", "yolanda", "yuri", "yvonne", "zachary", "zoe",
];

/// Peoples and languages.
#[rustfmt::skip]
pub(super) const PEOPLES: &[&str] = &[
    "african", "african-american", "africans", "afro-american", "algerian", "american", "americans", "anglo-american",
    "anglo-saxon", "arab", "arabic", "arabs", "argentine", "armenian", "asian", "asians", "assyrian", "australian",
    "australians", "austrian", "babylonian", "balkan", "bavarian", "belgian", "bengali", "brazilian", "british",
    "britons", "buddhist", "buddhists", "bulgarian", "byzantine", "canadian", "canadians", "caribbean", "catalan",
    "catholic", "catholics", "celtic", "chilean", "chinese", "christian", "christians", "colombian", "croatian",
    "cuban", "czech", "danes", "danish", "dutch", "eastern", "egyptian", "english", "estonian", "ethiopian",
    "european", "europeans", "filipino", "finnish", "flemish", "french", "frisian", "gaelic", "georgian", "german",
    "germanic", "germans", "greek", "greeks", "haitian", "hawaiian", "hebrew", "hindi", "hindu", "hindus",
    "hungarian", "icelandic", "indian", "indians", "indonesian", "iranian", "iraqi", "irish", "islamic", "israeli",
    "italian", "italians", "jamaican", "japanese", "jewish", "jews", "kenyan", "korean", "kurdish", "latin",
    "latvian", "lebanese", "libyan", "lithuanian", "macedonian", "malay", "malaysian", "maltese", "maori", "mexican",
    "moldovan", "mongolian", "moroccan", "muslim", "muslims", "nepalese", "nigerian", "norman", "north-american",
    "norwegian", "ottoman", "pakistani", "palestinian", "persian", "peruvian", "philippine", "poles", "polish",
    "portuguese", "protestant", "protestants", "prussian", "punjabi", "roman", "romanian", "romans", "russian",
    "russians", "saxon", "scandinavian", "scots", "scottish", "serbian", "sicilian", "slavic", "slovak", "slovenian",
    "somali", "soviet", "spanish", "sudanese", "swedes", "swedish", "swiss", "syrian", "taiwanese", "tamil", "thai",
    "tibetan", "tunisian", "turkish", "turks", "ukrainian", "urdu", "vietnamese", "viking", "welsh", "western",
    "yemeni",
];

/// Words that say what a quoted or parenthesised title is the title of.
pub(super) const WORKS: &[&str] = &[
    "album",
    "anime",
    "band",
    "book",
    "comics",
    "ep",
    "film",
    "game",
    "journal",
    "magazine",
    "manga",
    "miniseries",
    "movie",
    "musical",
    "newspaper",
    "novel",
    "opera",
    "play",
    "podcast",
    "series",
    "show",
    "sitcom",
    "song",
    "soundtrack",
    "tv",
];

/// Units of a number, of what is worth a name: money, ways, areas, weights.
#[rustfmt::skip]
pub(super) const UNITS: &[&str] = &[
    "acres", "bn", "cents", "countries", "decibels", "dollars", "euros", "feet", "francs", "ft", "gallons", "gb",
    "ghz", "hectares", "hz", "inch", "inhabitants", "kb", "kg", "kilograms", "kilometers", "kilometres", "kilotons",
    "km", "km2", "km²", "knots", "kph", "kw", "kwh", "lb", "lbs", "light-years", "liters", "litres", "mb", "megatons",
    "members", "meters", "metres", "mhz", "mi", "mi2", "miles", "mph", "mw", "ounces", "pence", "people", "pesos",
    "pounds", "residents", "rupees", "seats", "states", "stores", "students", "tb", "tonnes", "tons", "volts",
    "votes", "watts", "yards", "yen", "yuan",
];

/// Words that are not nouns, after which an office, a journal and the like go on: `Committee on`, `Center for`.
#[rustfmt::skip]
const HEADS: &[&str] = &[
    "act", "award", "awards", "campaign", "convention", "fellow", "festival", "hall", "minister", "organisation",
    "prize", "proceedings", "programme", "project", "report", "review", "secretary", "survey", "transactions",
    "treaty", "university", "war",
];

/// Verbs after a name that begins a sentence, besides those that end like one.
const VERBS: &[&str] = &[
    "appears", "are", "became", "began", "came", "can", "could", "did", "does", "fell", "gave", "got", "grew", "had",
    "has", "have", "is", "knew", "led", "left", "lost", "made", "may", "met", "might", "ran", "said", "sang", "saw",
    "says", "sent", "shall", "should", "sold", "spoke", "then", "told", "took", "was", "went", "were", "will", "won",
    "would", "wrote",
];

/// Whether the name of an office, a journal or the like may go on after `lower` and a small word.
pub(super) fn is_head(lower: &str) -> bool {
    among(ORGANISATIONS, lower) || among(HEADS, lower)
}

/// Whether `lower` is a first name or a place by itself.
pub(super) fn is_known(lower: &str) -> bool {
    among(FIRST_NAMES, lower) || among(KNOWN_PLACES, lower)
}

/// Whether `lower` is a country, or a city or a part of one that is often spoken of.
pub(super) fn is_known_place(lower: &str) -> bool {
    among(KNOWN_PLACES, lower)
}

/// Whether a small word after a name is a verb about one.
pub(super) fn is_verb(lower: &str) -> bool {
    among(VERBS, lower) || lower.len() > 3 && (lower.ends_with("ed") || lower.ends_with('s') && !lower.ends_with("ss"))
}

/// What the words of a name, in small letters with a space after each, tell of its kind.
pub(super) fn kind_of(lower: &str) -> Option<Kind> {
    let lower = lower.trim_end();
    if among(KNOWN_PLACES, lower.trim_end_matches('.')) {
        return Some(Kind::Place);
    }
    if among(PEOPLES, lower) {
        return Some(Kind::Other);
    }
    let (mut organisation, mut place, mut count) = (false, false, 0);
    for word in lower.split(' ').map(|word| word.trim_end_matches('.')) {
        count += 1;
        organisation |= among(ORGANISATIONS, word);
        place |= among(PLACES, word);
    }
    let first = lower.split(' ').next()?;
    if count > 1 && among(super::normal::TITLES, first.trim_end_matches('.')) && !lower.contains(" of ") {
        return Some(Kind::Person);
    }
    if count > 1 && (organisation || place) {
        return Some(if organisation { Kind::Organisation } else { Kind::Place });
    }
    (count <= 4 && among(FIRST_NAMES, first)).then_some(Kind::Person)
}
