// What every page can do with a script, and does without one where that is possible: the palette,
// the choice of colours, copying, and asking for news only while somebody looks.

const YEAR_S = 31_536_000
const SCHEMES = { "": "as the system", light: "light", dark: "dark" }
const root = document.documentElement

// Colours. The cookie holds for every port of this host, so that all systems follow one choice; the
// server writes it into the page, which therefore never shows the other colours first.

function chooseScheme(scheme) {
  if (scheme) root.dataset.scheme = scheme
  else delete root.dataset.scheme
  const age = scheme ? YEAR_S : 0
  document.cookie = `bastide_scheme=${scheme}; path=/; max-age=${age}; samesite=lax`
  nameScheme()
}

function nameScheme() {
  const scheme = SCHEMES[root.dataset.scheme ?? ""]
  document.querySelector("[data-scheme-next]").setAttribute("aria-label", `Colours: ${scheme}`)
}

function nextScheme() {
  const order = Object.keys(SCHEMES)
  return order[(order.indexOf(root.dataset.scheme ?? "") + 1) % order.length]
}

// The palette: a filter over links. Arrows move, Enter goes to the first one left, Escape closes.

const palette = document.getElementById("palette")
const filter = document.getElementById("palette-filter")

function openPalette() {
  filter.value = ""
  narrow()
  palette.showModal()
  filter.focus()
}

function narrow() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean)
  for (const item of palette.querySelectorAll("li")) {
    const text = item.textContent.toLowerCase()
    item.hidden = !words.every((word) => text.includes(word))
  }
  const left = choices().length
  palette.querySelector("[role=status]").textContent = left === 1 ? "1 left" : `${left} left`
}

function choices() {
  return [...palette.querySelectorAll("li:not([hidden]) :is(a, button)")]
}

function moveInPalette(event) {
  const stops = [filter, ...choices()]
  const at = stops.indexOf(document.activeElement)
  if (event.key === "ArrowDown") stops[(at + 1) % stops.length].focus()
  else if (event.key === "ArrowUp") stops[(at - 1 + stops.length) % stops.length].focus()
  else if (event.key === "Enter" && at === 0) stops[1]?.click()
  else return
  event.preventDefault()
}

if (palette) {
  filter.addEventListener("input", narrow)
  palette.addEventListener("keydown", moveInPalette)
  palette.addEventListener("click", (event) => event.target === palette && palette.close())
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault()
      openPalette()
    }
  })
}

// Copying

async function copy(button) {
  const told = button.textContent
  try {
    await navigator.clipboard.writeText(button.dataset.copy)
    button.textContent = "Copied"
  } catch {
    button.textContent = "Mark it and copy"
  }
  setTimeout(() => (button.textContent = told), 2000)
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button")
  if (!button) return
  if (button.dataset.copy !== undefined) copy(button)
  if (button.dataset.opens === "palette") openPalette()
  if (button.dataset.schemeNext !== undefined) chooseScheme(nextScheme())
  if (button.dataset.schemeSet !== undefined) {
    chooseScheme(button.dataset.schemeSet)
    palette.close()
  }
})

// A page that nobody sees asks for nothing; and while something in a part is marked, it stays.

document.addEventListener("htmx:before:request", (event) => {
  const marked = !document.getSelection().isCollapsed
  if (document.hidden || (marked && event.detail.ctx.sourceElement.matches("[hx-trigger^=every]"))) {
    event.preventDefault()
  }
})

// A live part that could not be renewed is old, and says so until one is renewed again.

const away = document.querySelector(".away")

function tellAway() {
  if (!away.hidden) return
  away.textContent = `The town does not answer. What you see is from ${new Date().toLocaleTimeString()}.`
  away.hidden = false
}

document.addEventListener("htmx:error", tellAway)
document.addEventListener("htmx:response:error", tellAway)
document.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx.response.status < 400) away.hidden = true
})

nameScheme()
