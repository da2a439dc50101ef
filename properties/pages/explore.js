
"use strict";
// Texts come from strangers: they are put in as text alone, never as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const input = document.getElementById("search");
const results = document.getElementById("results");
const MOST_RESULTS = 20, MOST_LISTED = 40;

/** An element with attributes and children; children are elements, texts, or lists of them. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return element;
}

const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const address = (side, record) => `#${side}/${encodeURIComponent(record.id)}`;
const userLink = (user) => make("a", { href: address("user", user) }, user.id);
const itemLink = (place) => make("a", { href: address("item", data.items[place]) }, data.items[place].title);
const quiet = (...words) => make("p", { class: "quiet small" }, ...words);
const section = (title, ...children) => make("section", {}, make("h3", {}, title), ...children);
const listOf = (name, attributes, rows) => make(name, attributes, rows.map((row) => make("li", {}, row)));

// ---- looked up -----------------------------------------------------------------------------------------------------

const places = {
  user: new Map(data.users.map((user, place) => [user.id, place])),
  item: new Map(data.items.map((item, place) => [item.id, place])),
};
const words = [
  ...data.users.map((user) => ["user", user, user.id.toLowerCase()]),
  ...data.items.map((item) => ["item", item, `${item.title} ${item.id}`.toLowerCase()]),
];

/** Users and items in whose names the words stand; those that begin so, or are called so, first. */
function search(text) {
  const asked = text.trim().toLowerCase();
  const rank = ([, record, said]) => (record.id.toLowerCase() === asked ? 0 : said.startsWith(asked) ? 1 : 2);
  return words.filter(([, , said]) => said.includes(asked)).sort((a, b) => rank(a) - rank(b));
}

const shownTo = data.items.map(() => []);
const readBy = data.items.map(() => 0);
for (const user of data.users) {
  for (const [item] of user.best) shownTo[item].push(user);
  for (const item of user.history) readBy[item < 0 ? ~item : item] += 1;
}

// ---- a user --------------------------------------------------------------------------------------------------------

const phrase = (place) => make("q", { class: "wish" }, data.phrases[place]);

/** Why an item is recommended, in words: what meets what, and what it is like. */
function reasons([, , wish, offer, like, cosine], user) {
  const said = [], low = user.history.includes(~like) ? ", which was rated low" : "";
  if (wish >= 0 && wish === offer) said.push(make("p", {}, "Likes ", phrase(wish), ", which is said of it, too."));
  else if (wish >= 0) said.push(make("p", {}, "Likes ", phrase(wish), "; it is liked for ", phrase(offer), "."));
  if (like >= 0) {
    const how = data.by_vectors ? "Resembles " : "Often goes together with ";
    said.push(make("p", {}, how, itemLink(like), ` from the history (${cosine.toFixed(2)})${low}.`));
  }
  return said.length ? said : [quiet("No reason in words is known.")];
}

function recommendations(user) {
  const popular = new Map(user.popular.map((item, rank) => [item, rank + 1]));
  const rows = user.best.map((row) => {
    const [item, score] = row, also = popular.get(item);
    const tags = [make("span", { class: "quiet small" }, `score ${score.toFixed(2)}`)];
    if (also) tags.push(make("span", { class: "tag" }, `number ${also} by popularity`));
    return [make("div", { class: "head" }, itemLink(item), tags), make("div", { class: "small" }, reasons(row, user))];
  });
  return section("Recommendations", rows.length ? listOf("ol", { class: "best" }, rows) : quiet("Nothing is left to recommend."));
}

/** Phrases, each with the items and quotes that it rests on. */
function wishes(title, name, rows) {
  if (!rows.length) return null;
  const shown = rows.map(([place, evidence]) => {
    const rests = evidence.flatMap((one, n) => [n ? ", " : "", typeof one === "number" ? itemLink(one) : make("q", {}, one)]);
    return [data.phrases[place], rests.length ? make("div", { class: "small quiet" }, "evidence: ", rests) : null];
  });
  return section(title, listOf("ul", { class: `phrases ${name}` }, shown));
}

function popularity(user) {
  const best = new Set(user.best.map(([item]) => item));
  const rows = user.popular.map((item) => [itemLink(item), best.has(item) ? [" ", make("span", { class: "tag" }, "recommended, too")] : null]);
  const shared = user.popular.filter((item) => best.has(item)).length;
  return section("What popularity would have shown",
    quiet(`The items with the most training interactions that the user does not have; ${shared} of them are recommended, too.`),
    listOf("ol", {}, rows));
}

function past(user) {
  const rows = user.history.map((place) =>
    place < 0 ? [itemLink(~place), " ", make("span", { class: "low" }, "rated low")] : itemLink(place));
  const more = user.n_history - rows.length;
  return section(`History (${count(user.n_history, "training interaction")})`,
    rows.length ? listOf("ul", { class: "plain" }, rows) : quiet("None: nothing was learnt of this user."),
    more ? quiet(`and ${more.toLocaleString("en")} more, which reasons do not look at`) : null);
}

function showUser(user) {
  const left = [recommendations(user), past(user)];
  const right = [wishes("Likes", "likes", user.likes), wishes("Dislikes", "dislikes", user.dislikes), popularity(user)];
  return [`User ${user.id}`, [
    user.about ? make("p", { class: "quiet" }, user.about) : null, user.profile ? make("p", {}, user.profile) : null,
    make("div", { class: "columns" }, make("div", {}, left), make("div", {}, right)),
  ]];
}

// ---- an item -------------------------------------------------------------------------------------------------------

function showItem(item) {
  const place = places.item.get(item.id), to = shownTo[place];
  const bare = (rows) => rows.map((one) => [one, []]);
  const near = item.near.map(([other, cosine]) => [itemLink(other), make("span", { class: "quiet small" }, ` ${cosine.toFixed(2)}`)]);
  const measure = data.by_vectors ? "By the model's vectors, of the items on this page." : "By the users who have both, of the items on this page.";
  const left = [
    section("Like it", near.length ? [quiet(measure), listOf("ol", {}, near)] : quiet("Nothing on this page.")),
    section("Recommended to", to.length
      ? [quiet(`${count(to.length, "user")} of the ${data.users.length} on this page`), listOf("ul", { class: "chips" }, to.slice(0, MOST_LISTED).map(userLink))]
      : quiet("Nobody on this page."),
    to.length > MOST_LISTED ? quiet(`and ${to.length - MOST_LISTED} more`) : null),
  ];
  const right = [wishes("Liked for", "likes", bare(item.likes)), wishes("Disliked for", "dislikes", bare(item.dislikes))];
  const facts = `${count(item.n, "training interaction")}; in the history of ${count(readBy[place], "user")} on this page`;
  return [item.title, [
    quiet(item.title === item.id ? "" : `Item ${item.id} · `, facts),
    item.about ? make("p", { class: "quiet" }, item.about) : null, item.profile ? make("p", {}, item.profile) : null,
    make("div", { class: "columns" }, make("div", {}, left), make("div", {}, right)),
  ]];
}

// ---- the page ------------------------------------------------------------------------------------------------------

function showStart() {
  const [users, items] = [data.users, data.items].map((its) => its.length);
  const first = data.users.slice(0, MOST_LISTED);
  return ["Who is recommended what, and why", [
    make("p", {}, `${data.model} on ${data.dataset}: ${count(users, "user")} of ${data.n_users.toLocaleString("en")}, `,
      `with ${data.k} recommendations each, and the ${count(items, "item")} that they have or are shown, of ${data.n_items.toLocaleString("en")}.`),
    make("div", { class: "columns" }, section("Users", listOf("ul", { class: "chips" }, first.map(userLink)),
      users > first.length ? quiet(`and ${(users - first.length).toLocaleString("en")} more: search them`) : null)),
  ]];
}

function show(moved) {
  const [side, ...rest] = location.hash.slice(1).split("/");
  let record;
  try { record = side in places ? data[`${side}s`][places[side].get(decodeURIComponent(rest.join("/")))] : undefined; }
  catch (error) { if (!(error instanceof URIError)) throw error; }
  const [title, children] = record ? (side === "user" ? showUser : showItem)(record) : showStart();
  const absent = !record && side in places ? quiet("This page does not have what its address names.") : null;
  main.replaceChildren(make("h2", {}, title), ...[absent, ...children].filter(Boolean));
  document.title = record ? `${title} - ${data.model} on ${data.dataset}` : `${data.model} on ${data.dataset}`;
  if (moved) { main.focus({ preventScroll: true }); window.scrollTo(0, 0); }
}

function showResults() {
  const asked = input.value.trim() !== "", found = asked ? search(input.value) : [];
  document.getElementById("found").textContent = !asked ? "" :
    found.length > MOST_RESULTS ? `${count(found.length, "match", "matches")}, of which ${MOST_RESULTS} are shown` : count(found.length, "match", "matches");
  results.replaceChildren(...found.slice(0, MOST_RESULTS).map(([side, record]) => make("li", {},
    make("a", { href: address(side, record) }, side === "user" ? `User ${record.id}` : record.title,
      make("span", { class: "quiet small" }, side === "user" ? "" : ` item ${record.id}`)))));
  results.hidden = found.length === 0;
}

/** The arrows go through the results, Enter opens the first or the chosen one, Escape leaves. */
function onKey(event) {
  const links = [...results.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && at + 1 < links.length) links[at + 1].focus();
  else if (event.key === "ArrowUp" && at >= 0) (links[at - 1] ?? input).focus();
  else if (event.key === "Escape") { clear(); input.focus(); }
  else return;
  event.preventDefault();
}

function clear() { input.value = ""; showResults(); }

input.addEventListener("input", showResults);
document.querySelector("form").addEventListener("keydown", onKey);
document.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  results.querySelector("a")?.click();
});
window.addEventListener("hashchange", () => { if (location.hash !== "#main") { clear(); show(true); } });
document.querySelector("footer").append(
  make("p", {}, "Scores come from the model alone. Reasons are texts and items that agree, not what the model computed."));
show(false);
