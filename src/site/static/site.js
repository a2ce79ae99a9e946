/**
 * What the pages do beyond what they are without it: the search, buttons that copy, and how long ago something was.
 * Text from anywhere goes into the page as text, never as HTML.
 */
const root = document.documentElement.dataset.root ?? './';
/** So many results are shown. */
const RESULTS = 20;

// The search ---------------------------------------------------------------------------------------------------

/** The search's files that were read, by the beginning that each is for; see search-tree.ts for what is in one. */
const files = new Map();

/** The file of a beginning of two characters or more is in the folder of these two. */
const address = (prefix) =>
  new URL(
    prefix.length <= 2
      ? `${root}search/${prefix}.json`
      : `${root}search/${prefix.slice(0, 2)}/${prefix}.json`,
    document.baseURI,
  );

/** A file, or null for one that isn't there. `again`: not from what was read before. */
function read(prefix, again = false) {
  const known = files.get(prefix);
  if (known && !again) return known;
  const asked = fetch(address(prefix), again ? { cache: 'reload' } : {}).then((response) => {
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`${response.status}`);
    return response.json();
  });
  files.set(prefix, asked);
  asked.catch(() => files.delete(prefix));
  return asked;
}

/** The file that knows most of what begins with `key`; null: nothing does. */
async function find(key, again = false) {
  let prefix = key.slice(0, 2);
  let file = await read(prefix, again);
  if (file?.d) {
    // It names all that are below it, so that the way there is one step.
    const below = new Set(file.d.split(' '));
    for (let length = key.length; length > 2; length -= 1)
      if (below.has(key.slice(2, length))) {
        prefix = key.slice(0, length);
        break;
      }
    if (prefix.length > 2) file = await read(prefix, again);
  }
  // Since then more may have branched off, or what did may have been put together again.
  while (
    file &&
    key.length > file.p.length &&
    key.startsWith(file.p) &&
    file.c?.includes(key[file.p.length])
  ) {
    prefix = key.slice(0, file.p.length + 1);
    file = await read(prefix, again);
  }
  if (file === null && prefix.length > 2 && !again) return find(key, true);
  return file;
}

/** Whether a word of the name begins so, without what stands between words. */
function begins(name, key) {
  for (let at = 0; ;) {
    if (name.slice(at).replaceAll('-', '').startsWith(key)) return true;
    const next = name.indexOf('-', at);
    if (next < 0) return false;
    at = next + 1;
  }
}

/** The rows [name, downloads, files, description] of what is found: the very name first, then as they are stored. */
async function search(query) {
  const name = normalise(query);
  const key = name.replaceAll('-', '');
  if (key === '') return [];
  const file = await find(key);
  if (!file) return [];
  const whole = file.t && file.p.startsWith(key);
  const rows = whole ? file.t : file.r;
  const found = rows.filter(([its]) => begins(its, key));
  const exact = ([its]) => (its === name ? 2 : its.replaceAll('-', '') === key ? 1 : 0);
  return found.sort((a, b) => exact(b) - exact(a)).slice(0, RESULTS);
}

/** As PEP 503 writes a name. */
const normalise = (text) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');

const grouped = (n) => n.toLocaleString('en-GB');
const countOf = (n, one) => `${grouped(n)} ${one}${n === 1 ? '' : 's'}`;

function element(kind, properties = {}, ...children) {
  const its = document.createElement(kind);
  Object.assign(its, properties);
  its.append(...children);
  return its;
}

function resultOf([name, downloads, wheels, description]) {
  const facts = [wheels === 0 ? 'no wheel yet' : countOf(wheels, 'wheel')];
  if (downloads > 0) facts.push(`${countOf(downloads, 'download')}`);
  return element(
    'li',
    {},
    element('a', {
      className: 'name',
      href: `${root}project/${encodeURIComponent(name)}/`,
      textContent: name,
    }),
    element('span', { className: 'soft end', textContent: facts.join(', ') }),
    element('span', { className: 'about', textContent: description }),
  );
}

/** Shows below a form what is found while it is filled in. */
function searchLive(form) {
  const input = form.querySelector('input');
  const list = element('ul', { className: 'found', hidden: true });
  const said = element('p', { className: 'soft', role: 'status' });
  const results = element('div', { className: 'results' }, said, list);
  const instead = document.querySelector('[data-browse]');
  const isPage = document.body.classList.contains('of-packages');
  form.after(results);
  let latest = 0;
  const show = async () => {
    const turn = ++latest;
    const query = input.value.trim();
    if (isPage)
      history.replaceState(null, '', query === '' ? location.pathname : `?q=${encodeURIComponent(query)}`);
    if (instead) instead.hidden = query !== '' && isPage;
    if (query === '') {
      list.hidden = true;
      said.textContent = '';
      return;
    }
    try {
      const rows = await search(query);
      if (turn !== latest) return;
      list.replaceChildren(...rows.map(resultOf));
      list.hidden = rows.length === 0;
      said.textContent =
        rows.length === 0
          ? `Nothing here begins with “${query}”, nor does a word of any name.`
          : rows.length === RESULTS
            ? `The first ${RESULTS}, those first that were downloaded most in 30 days`
            : countOf(rows.length, 'package');
    } catch {
      if (turn !== latest) return;
      list.hidden = true;
      said.textContent = 'The search can’t be reached. Try again in a moment.';
    }
  };
  input.addEventListener('input', show);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    list.querySelector('a')?.click();
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') {
      event.preventDefault();
      list.querySelector('a')?.focus();
    } else if (event.key === 'Escape') {
      input.value = '';
      show();
    }
  });
  list.addEventListener('keydown', (event) => {
    const links = [...list.querySelectorAll('a')];
    const at = links.indexOf(document.activeElement);
    if (event.key === 'ArrowDown') links[at + 1]?.focus();
    else if (event.key === 'ArrowUp') (links[at - 1] ?? input).focus();
    else if (event.key === 'Escape') input.focus();
    else return;
    event.preventDefault();
  });
  // Whoever comes here with a question, or to an address that leads nowhere, has it answered.
  const asked = new URLSearchParams(location.search).get('q');
  if (asked !== null) input.value = asked;
  else if (document.body.classList.contains('of-lost')) input.value = wordsOf(location.pathname);
  if (input.value !== '') show();
  if (isPage) input.focus();
}

/** What an address that leads nowhere was probably about: the longest part of it that can be a name. */
function wordsOf(path) {
  let decoded = path;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    // It is no proper address: as it stands.
  }
  const parts = decoded
    .split('/')
    .map((part) => normalise(part.replace(/\.(?:html?|json|whl|tar\.gz)$/, '')))
    .filter(
      (part) =>
        part !== '' && !['project', 'simple', 'p', 'json', 'packages', 'index', 'pypi'].includes(part),
    );
  return (parts[0] ?? '').slice(0, 200);
}

for (const form of document.querySelectorAll('form[data-live]')) searchLive(form);

document.addEventListener('keydown', (event) => {
  const { target } = event;
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest?.('input, textarea, select, [contenteditable]')) return;
  event.preventDefault();
  document.querySelector('.search input')?.focus();
});

// Copying ------------------------------------------------------------------------------------------------------

if (navigator.clipboard)
  for (const typed of document.querySelectorAll('.typed')) {
    const label = typed.getAttribute('aria-label');
    const button = element('button', {
      className: 'copy',
      type: 'button',
      textContent: 'Copy',
      ariaLabel: `Copy: ${label}`,
    });
    const around = element('div', { className: 'copied' });
    typed.replaceWith(around);
    around.append(typed, button);
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(typed.textContent);
        button.textContent = 'Copied';
      } catch {
        getSelection()?.selectAllChildren(typed);
        button.textContent = 'Selected';
      }
      setTimeout(() => (button.textContent = 'Copy'), 2000);
    });
  }

// Times --------------------------------------------------------------------------------------------------------

const UNITS = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];
const ago = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

for (const time of document.querySelectorAll('time[datetime]')) {
  const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, its]) => Math.abs(seconds) >= its) ?? ['minute', 60];
  time.title = time.textContent;
  time.textContent = Math.abs(seconds) < 60 ? 'just now' : ago.format(Math.round(seconds / length), unit);
}
