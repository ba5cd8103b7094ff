// What the page says of itself.

function fillTexts() {
  const number = grouped(count);
  const { space } = about;
  const share = space.size && space.size !== count ? ` of ${grouped(space.size)}` : "";
  $("title").textContent = space.title;
  $("subtitle").textContent =
    `${number}${share} cells, ${about.dimensions} dimensions of ${about.run}`;
  const lines = [
    ["Space", `${space.title}, ${number}${share} cells`],
    ["Run", about.run],
    ["Map", about.caption],
    ["Table", about.table ? [`${about.table.title}.`, ...about.table.notes].join(" ") : "none"],
    ["Searches", about.searches.map(({ name, runs }, k) =>
      `${name} (${about.arrays[`search-${k}-seeds`][1]} of ${runs} runs)`).join("; ") || "none"],
    ["Latent distance", "Euclidean, exact for the vectors as they are stored: "
      + `${about.dimensions} numbers in 256 steps each`],
    ["Edit distance", "exact graph edit distance: the fewest unit edits that turn one cell into "
      + "the other, which are to insert or delete a node, to change its operation, and to insert "
      + "or delete an edge"],
    ["Made with", `archrep ${about.version}`],
  ];
  $("about-text").innerHTML = `<dl>${lines.map(([what, text]) =>
    `<dt>${what}</dt><dd>${escapeText(text)}</dd>`).join("")}</dl>`;
}
