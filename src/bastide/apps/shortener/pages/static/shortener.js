// The browser remembers one key, so that all links made in it belong together; with it the page
// lists them, and shows their clicks as they come. Nothing but this page's own API is asked.

const KEY = "bastide.shortener.key"
const EVERY_MS = 2000
const root = new URL(".", location.href)

const made = document.querySelector("[data-made-key]")
if (made) localStorage.setItem(KEY, made.dataset.madeKey)
const key = localStorage.getItem(KEY) ?? ""

for (const input of document.querySelectorAll("input[data-key]")) input.value ||= key

async function ask(path, bearer) {
  const headers = { authorization: `Bearer ${bearer}` }
  const reply = await fetch(new URL(path, root), { headers })
  return reply.ok ? reply.json() : null
}

// Your links

const list = document.querySelector("[data-links]")
const empty = document.querySelector("[data-no-links]")
const template = document.getElementById("link")

async function showLinks() {
  const page = key ? await ask("api/links?limit=20", key) : { items: [] }
  if (!page) return
  list.hidden = page.items.length === 0
  empty.hidden = page.items.length > 0
  const rows = list.querySelector("ul")
  const known = new Map([...rows.children].map((row) => [row.dataset.code, row]))
  const wanted = page.items.map((link) => fill(known.get(link.short_code) ?? newRow(link), link))
  if (wanted.some((row, at) => row !== rows.children[at])) rows.replaceChildren(...wanted)
}

function newRow(link) {
  const row = template.content.firstElementChild.cloneNode(true)
  row.dataset.code = link.short_code
  const short = row.querySelector("[data-short]")
  short.href = link.short_url
  short.textContent = link.short_url.replace(/^https?:\/\//, "")
  row.querySelector("[data-long]").textContent = link.original_url
  row.querySelector("[name=code]").value = link.short_code
  row.querySelector("[name=key]").value = key
  return row
}

function fill(row, link) {
  const state = row.querySelector("[data-state]")
  const ended = new Date(link.expires_at) <= new Date()
  state.textContent = link.disabled ? "off" : ended ? "ended" : ""
  state.hidden = !state.textContent
  const clicks = link.total_clicks.toLocaleString("en")
  row.querySelector("[data-clicks]").textContent = clicks === "1" ? "1 click" : `${clicks} clicks`
  return row
}

// One link

const card = document.querySelector("[data-stats]")

async function showStats() {
  const stats = await ask(`api/${card.dataset.stats}/stats`, card.dataset.statsKey)
  if (!stats) return
  card.querySelector("[data-total]").textContent = stats.total_clicks.toLocaleString("en")
  card.querySelector("[data-bots]").textContent = stats.bot_clicks.toLocaleString("en")
}

const show = list ? showLinks : card ? showStats : null

// Nobody is asked while nobody looks; a town that is away for a moment is asked again.
async function beat() {
  try {
    if (!document.hidden) await show()
  } catch {
    // asked again below
  } finally {
    setTimeout(beat, EVERY_MS)
  }
}

if (show) beat()
